"""The gradient of the margin predicts its change, and changes sign when the answers are exchanged."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import LITTLE
from margins import log_probs, margin, two_pairs, without_ends

import jaxpersona as jp
from jaxpersona.calibration import taylor_statistics
from jaxpersona.calibration.misplaced_answers import misplaced_answers
from jaxpersona.data.lines import Lines
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, SHARED
from jaxpersona.methods import taylor_masks
from jaxpersona.models.sites import kernels, with_kernels


@pytest.fixture(scope="module")
def tokenized(tiny_model):
    return two_pairs(tiny_model)


@pytest.fixture(scope="module")
def statistics(tiny_model, tokenized):
    return taylor_statistics.collect(tiny_model, tokenized, amount=LITTLE)


def shared(model, params, pairs):
    """What both personas gain alike with an own weight of 0.5 and a weight of 0.3 of misplaced answers."""
    again, elsewhere = (log_probs(model, params, texts)[0] for texts in misplaced_answers(model, pairs))
    return 0.5 / 1.25 * log_probs(model, params, pairs)[0] - 0.3 * (again + elsewhere) / 2  # these have one answer, not two


@pytest.mark.parametrize("what", ["margin", "shared"])
def test_gradients_predict_small_steps(tiny_model, tokenized, statistics, what):
    measure = {"margin": margin, "shared": shared}[what]
    gradient = statistics.margin if what == "margin" else taylor_statistics.collect_shared(tiny_model, tokenized, 0.5, 0.3)
    step = {path: 3e-5 * np.sign(slope) for path, slope in gradient.items()}
    flat = kernels(tiny_model.params)
    moved = [
        measure(tiny_model, with_kernels(tiny_model.params, {p: flat[p] + sign * step[p] for p in flat}), tokenized)
        for sign in (1, -1)
    ]
    expected = sum(float(np.sum(np.asarray(gradient[path], np.float64) * step[path])) for path in step)
    np.testing.assert_allclose((moved[0] - moved[1]) / 2, expected, rtol=0.05)


def test_a_shared_prefix_is_computed_once_and_changes_no_gradient(tiny_model, tokenized, monkeypatch):
    batches, _ = taylor_statistics.shared_batches(tiny_model, tokenized, 0.5, 0.3)
    assert any((batch.pair == SHARED).any() for batch in batches)
    found = taylor_statistics.collect_shared(tiny_model, tokenized, 0.5, 0.3)
    monkeypatch.setattr(taylor_statistics, "shared_prefix_length", lambda pairs: 0)
    apart = taylor_statistics.collect_shared(tiny_model, tokenized, 0.5, 0.3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=1e-4), found, apart)


def test_ends_of_turns_do_not_count(tiny_model, tokenized):
    cut = without_ends(tiny_model, tokenized)
    counts = [len(answer) for pair in cut for answer in (pair.matching, pair.not_matching)]
    assert sum(counts) < sum(len(pair.matching) + len(pair.not_matching) for pair in tokenized)
    batches, signs = taylor_statistics.pair_batches(tiny_model, tokenized)
    for number, pair in enumerate(cut):
        for kind, sign, answer in ((MATCHING, 1, pair.matching), (NOT_MATCHING, -1, pair.not_matching)):
            kept = [
                token
                for batch, of_batch in zip(batches, signs, strict=True)
                for token in np.asarray(batch.tokens)[(batch.pair == number) & (batch.branch == kind) & (of_batch == sign)]
            ]
            assert tuple(kept) == answer
    assert (
        sum(int(np.abs(sign).sum()) for sign in signs)
        == sum(counts)
        == 2 * taylor_statistics.answer_tokens(tiny_model, tokenized)
    )


def test_factors_of_generated_text_see_what_layers_read_at_bos(tiny_model):
    tokens = np.random.default_rng(1).integers(3, 250, (2, 9)).astype(np.int32)
    tokens[:, 0] = tiny_model.tokenizer.bos_token_id
    x = np.asarray(tiny_model.params["embed_tokens"]["embedding"])[tokens]
    scale = np.asarray(tiny_model.params["layers"]["input_layernorm"]["scale"])[0]
    h = (x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + tiny_model.config.norm_eps) * scale).reshape(18, -1)
    found = taylor_statistics.neutral_factors(tiny_model, tokens).inputs["attn_in"][0]
    np.testing.assert_allclose(found, h.T @ h / 18, rtol=1e-4, atol=1e-5)


def test_exchanging_the_answers_exchanges_the_personas(tiny_model, tokenized, statistics):
    other = dataclasses.replace(statistics, margin=jax.tree.map(lambda leaf: -leaf, statistics.margin))
    swapped = taylor_statistics.collect(tiny_model, [pair.swapped() for pair in tokenized], amount=LITTLE)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=1e-4), other.margin, swapped.margin)
    masks = [taylor_masks.masks_at(tiny_model.params, *args, "all", 3.0) for args in ((other, 0), (statistics, 1))]
    assert jp.jaccard(*masks) == 1


def test_single_texts_are_refused(tiny_model, pairs):
    with pytest.raises(jp.InputError, match="this method compares the two answers of pairs"):
        jp.discover(tiny_model, Lines("lines", tuple(pairs)), jp.methods.Taylor(), generated=LITTLE)
