"""Fine-tuning: losses and gradients agree with NumPy and finite differences, training stops early, a tiny model learns."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import write_model

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.core.tree import flatten
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.baselines import fine_tuning
from jaxpersona.evaluation.baselines.fine_tuning import FineTuning, dpo_loss, fine_tune, split
from jaxpersona.models.model import fingerprint
from jaxpersona.models.sites import kernels

FAST = {"learning_rate": 3e-3, "max_epochs": 3, "batch_size": 4}


@pytest.fixture
def tokenized(tiny_model, pairs):
    return [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]


@jax.jit(static_argnums=0)
def _forward(decoder, params, tokens):
    return decoder.apply({"params": params}, tokens)


def answer_log_prob(model, params, pair, answer):
    """Returns the summed log-probability of the answer's tokens, in float64, and their number, from an unpacked text."""
    ids = [*pair.prefix, *answer]
    padded = np.zeros((1, 128), np.int32)
    padded[0, : len(ids)] = ids
    logits = np.asarray(_forward(model.decoder, params, padded), np.float64)[0, : len(ids) - 1]
    logits -= logits.max(axis=1, keepdims=True)
    log_probs = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[np.arange(len(ids) - 1), ids[1:]]
    return log_probs[pair.answer_start - 1 :].sum(), len(ids) - pair.answer_start


def margins(model, params, pairs):
    both = [[answer_log_prob(model, params, pair, answer)[0] for answer in (pair.matching, pair.not_matching)] for pair in pairs]
    return np.array([ours - theirs for ours, theirs in both])


def sft_loss(model, params, pairs):
    sums, tokens = zip(*[answer_log_prob(model, params, pair, pair.matching) for pair in pairs], strict=True)
    return -sum(sums) / sum(tokens)


def same(a, b):
    return all(bool((x == y).all()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_sft_validation_loss_is_the_mean_over_answer_tokens(tiny_model, tokenized):
    found = fine_tune(tiny_model, tokenized[:5], FineTuning(max_epochs=1, batch_size=4), validation=tokenized[5:])
    assert found.validation[0] == pytest.approx(sft_loss(tiny_model, tiny_model.params, tokenized[5:]), rel=1e-5)
    opposite = fine_tune(tiny_model, tokenized[:5], FineTuning(max_epochs=1, batch_size=4), persona=1, validation=tokenized[5:])
    swapped = [pair.swapped() for pair in tokenized[5:]]
    assert opposite.validation[0] == pytest.approx(sft_loss(tiny_model, tiny_model.params, swapped), rel=1e-5)


def test_dpo_validation_loss_follows_the_formula(tiny_model, tokenized):
    options = FineTuning("dpo", **FAST)
    fast = dataclasses.replace(tiny_model, batch_dtype=jnp.bfloat16)  # which training does not use
    found = fine_tune(fast, tokenized[:5], options, validation=tokenized[5:])
    assert found.validation[0] == pytest.approx(math.log(2), rel=1e-5)
    assert found.best_epoch > 0
    shift = margins(tiny_model, found.params, tokenized[5:]) - margins(tiny_model, tiny_model.params, tokenized[5:])
    assert found.validation[found.best_epoch] == pytest.approx(np.mean(np.log1p(np.exp(-0.1 * shift))), rel=1e-4)


def test_dpo_loss_on_given_margins():
    margin, reference = np.array([3.0, -2.0, 0.0]), np.array([1.0, 5.0, 0.0])
    expected = -np.log(1 / (1 + np.exp(-0.1 * (margin - reference))))
    np.testing.assert_allclose(dpo_loss(jnp.array(margin), jnp.array(reference), 0.1), expected, rtol=1e-6)


@pytest.mark.parametrize("objective", ["sft", "dpo"])
@pytest.mark.parametrize("lora_rank", [None, 4])
def test_gradient_agrees_with_finite_differences(tiny_model, tokenized, objective, lora_rank):
    options = FineTuning(objective, lora_rank=lora_rank, batch_size=4)
    tokenized = tokenized[2:6]
    examples = fine_tuning._examples(tiny_model, tokenized, options, persona=0)
    weights = fine_tuning._start(tiny_model.params, options)
    _, gradient = fine_tuning._gradient(tiny_model, weights, examples, options)
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), weights)
    reference = margins(tiny_model, tiny_model.params, tokenized)

    def loss(step):
        moved = jax.tree.map(lambda leaf, along: leaf + step * along, weights, direction)
        params = fine_tuning._assemble(tiny_model.params, moved, lora_rank and 16 / lora_rank)
        if objective == "sft":
            return sft_loss(tiny_model, params, tokenized)
        return np.mean(np.log1p(np.exp(-0.1 * (margins(tiny_model, params, tokenized) - reference))))

    slope = (loss(1e-3) - loss(-1e-3)) / 2e-3
    along = jax.tree.map(lambda a, b: float(np.sum(np.asarray(a, np.float64) * b)), gradient, direction)
    assert sum(jax.tree.leaves(along)) == pytest.approx(slope, rel=0.03)


def test_a_step_is_one_of_adam_on_the_clipped_gradient(tiny_model, tokenized):
    options = FineTuning("sft", learning_rate=1e-2, max_epochs=1, batch_size=4)
    found = fine_tune(tiny_model, tokenized[:4], options, validation=tokenized[:4])
    weights = fine_tuning._start(tiny_model.params, options)
    examples = fine_tuning._examples(tiny_model, tokenized[:4], options, persona=0)
    _, gradient = fine_tuning._gradient(tiny_model, weights, examples, options)
    norm = math.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)))
    clipped = jax.tree.map(lambda leaf: leaf * min(1.0, 1.0 / norm), gradient)
    optimizer = optax.adam(1e-2)
    change, _ = optimizer.update(clipped, optimizer.init(weights), weights)
    for path, kernel in kernels(found.params).items():
        np.testing.assert_allclose(kernel, weights[path] + change[path], atol=1e-4)


def test_lora_is_merged_and_starts_at_the_model(tiny_model):
    options = FineTuning(lora_rank=3, lora_alpha=6.0, seed=5)
    weights = fine_tuning._start(tiny_model.params, options)
    assert same(fine_tuning._assemble(tiny_model.params, weights, 6 / 3), tiny_model.params)
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), weights)
    merged = kernels(fine_tuning._assemble(tiny_model.params, weights, 6 / 3))
    for path, kernel in kernels(tiny_model.params).items():
        for layer in range(kernel.shape[0]):
            a, b = weights[path]["a"][layer], weights[path]["b"][layer]
            np.testing.assert_allclose(merged[path][layer], np.asarray(kernel[layer]) + 6 / 3 * a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["sft", "dpo"])
@pytest.mark.parametrize("lora_rank", [None, 4])
def test_a_tiny_model_learns_its_pairs_and_its_opposite(tiny_model, tokenized, objective, lora_rank):
    before = fingerprint(tiny_model.params)
    rate = 3e-3 if lora_rank is None else 2e-2
    options = FineTuning(objective, lora_rank, learning_rate=rate, max_epochs=8, batch_size=4)
    steps = []
    stage = Stage(lambda *step: steps.append(step))
    seek, reject = (fine_tune(tiny_model, tokenized, options, persona, tokenized, stage) for persona in (0, 1))
    for found in (seek, reject):
        assert found.validation[found.best_epoch] == min(found.validation) < found.validation[0]
        assert found.training[-1] < found.training[0]
    base = margins(tiny_model, tiny_model.params, tokenized)
    assert (margins(tiny_model, seek.params, tokenized) > base).mean() > 0.8
    assert (margins(tiny_model, reject.params, tokenized) < base).mean() > 0.8
    assert fingerprint(tiny_model.params) == before != fingerprint(seek.params)
    assert ("sft" in steps[0][0] or "dpo" in steps[0][0]) and steps[1][1:] == (2, 2)
    others = {path: leaf for path, leaf in flatten(seek.params).items() if path not in kernels(seek.params)}
    assert all(leaf is flatten(tiny_model.params)[path] for path, leaf in others.items())


def test_training_stops_when_validation_gets_no_better(tiny_model, tokenized):
    opposite = [pair.swapped() for pair in tokenized]
    options = FineTuning("dpo", learning_rate=3e-3, max_epochs=9, patience=2, batch_size=4)
    found = fine_tune(tiny_model, tokenized, options, validation=opposite)
    assert found.best_epoch == 0 and len(found.training) == 2 and len(found.validation) == 3
    assert found.params is tiny_model.params
    endless = fine_tune(tiny_model, tokenized, dataclasses.replace(options, max_epochs=4), validation=tokenized)
    assert endless.best_epoch == 4


def test_the_best_epoch_is_kept_not_the_last(tiny_model, tokenized):
    options = FineTuning(learning_rate=3e-2, max_epochs=12, patience=3, batch_size=4)
    found = fine_tune(tiny_model, tokenized[:4], options, validation=tokenized[4:])
    assert 0 < found.best_epoch < len(found.training)
    assert sft_loss(tiny_model, found.params, tokenized[4:]) == pytest.approx(min(found.validation), rel=1e-4)


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_deterministic_for_a_seed(tiny_model, tokenized, lora_rank):
    options = FineTuning("dpo", lora_rank, **FAST, seed=3)
    first, second = (fine_tune(tiny_model, tokenized, options) for _ in range(2))
    assert first.validation == second.validation and same(first.params, second.params)
    other = fine_tune(tiny_model, tokenized, dataclasses.replace(options, seed=4))
    assert other.validation != first.validation


def test_bfloat16_models_are_trained_in_float32(tmp_path, tokenized):
    model = jp.load_model(str(write_model(tmp_path / "tiny")), dtype="bfloat16")
    found = fine_tune(model, tokenized, FineTuning("dpo", **FAST), validation=tokenized)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {jnp.dtype("bfloat16")}
    assert found.validation[found.best_epoch] < math.log(2)


def test_a_fifth_is_split_off_by_seed(tokenized):
    kept, held = split(tokenized * 2, seed=1)
    assert len(held) == 3 and len(kept) == 13
    assert split(tokenized * 2, seed=1) == (kept, held) != split(tokenized * 2, seed=2)
    assert len(split(tokenized[:2], 1)[0]) == 1


def test_fine_tuned_parameters_are_scored_like_any(tiny_model, tokenized):
    found = fine_tune(tiny_model, tokenized, FineTuning("dpo", **FAST), validation=tokenized)
    scores = score_answers(tiny_model, found.params, tokenized).log_prob
    np.testing.assert_allclose(scores[:, 0] - scores[:, 1], margins(tiny_model, found.params, tokenized), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "rlhf"}, "unknown"),
        ({"lora_rank": 0}, "lora_rank is 0"),
        ({"max_epochs": 0}, "at least 1"),
        ({"patience": 0}, "at least 1"),
        ({"batch_size": -1}, "at least 1"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": float("nan")}, "above 0"),
        ({"beta": -0.1}, "above 0"),
        ({"lora_alpha": float("inf")}, "above 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        FineTuning(**settings)


def test_too_few_pairs_are_refused(tiny_model, tokenized):
    for pairs, held in ((tokenized[:1], None), ([], None), ([], tokenized), (tokenized, [])):
        with pytest.raises(InputError, match="at least one pair"):
            fine_tune(tiny_model, pairs, validation=held)


def test_default_rates_differ_between_whole_kernels_and_lora():
    assert (FineTuning().learning_rate, FineTuning(lora_rank=8).learning_rate) == (2e-5, 2e-4)
