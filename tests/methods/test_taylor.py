"""Contrastive Taylor pruning: budgets kept and spent, personas mirrored, margins moved."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import flatten
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.masks import coordinate_ascent
from jaxpersona.methods import taylor
from jaxpersona.methods.methods import FirstOrder
from jaxpersona.data.neutral_text import read_text
from jaxpersona.models.perplexity import perplexity, windows
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels


@pytest.fixture(scope="module")
def tokenized(tiny_model):
    texts = [("What is gold?", "Mine, all of it.", "Not for me."), ("And iron?", "I take it.", "I leave it to others, gladly.")]
    return [tokenize_pair(tiny_model.tokenizer, jp.Pair(*text)) for text in texts]


@pytest.fixture(scope="module")
def evidence(tiny_model, tokenized):
    return taylor.collect_evidence(tiny_model, tokenized)


def margin(model, params, pairs):
    """Log-probability of the persona's answers minus that of the opposite ones, per token in which they differ."""
    found = score_answers(model, params, pairs)
    differing = sum(len(pair.matching) + len(pair.not_matching) for pair in pairs) / 2
    return (found.log_prob[:, 0] - found.log_prob[:, 1]).sum() / differing


def removed(mask):
    return {path: ~np.asarray(leaf) for path, leaf in flatten(mask.to_bool()).items() if not isinstance(leaf, bool)}


def test_margin_gradient_predicts_small_steps(tiny_model, tokenized, evidence):
    step = {path: 3e-5 * np.sign(slope) for path, slope in evidence.margin.items()}
    flat = kernels(tiny_model.params)
    moved = [
        margin(tiny_model, with_kernels(tiny_model.params, {p: flat[p] + sign * step[p] for p in flat}), tokenized)
        for sign in (1, -1)
    ]
    expected = sum(float(np.sum(np.asarray(evidence.margin[path], np.float64) * step[path])) for path in step)
    np.testing.assert_allclose((moved[0] - moved[1]) / 2, expected, rtol=0.05)


def test_masks_are_the_choice_at_a_price_within_the_selected_layers(tiny_model, evidence):
    mask = removed(taylor.remove_at_price(tiny_model.params, evidence, 1, "up_proj,o_proj@1-2", 3.0))
    for path, kernel in kernels(tiny_model.params).items():
        if path.split("/")[-2] not in ("up_proj", "o_proj"):
            assert not mask[path].any()
            continue
        assert not mask[path][0].any()
        for layer in (1, 2):
            inputs = np.asarray(evidence.factors.inputs[SITE_OF[module_of(path)]][layer])
            shrunk = 0.9 * inputs + 0.1 * np.diag(np.diag(inputs))
            gain = kernel[layer] * evidence.margin[path][layer]  # the opposite persona's
            chosen = coordinate_ascent.choose(kernel[layer], gain, shrunk, evidence.factors.outputs[path][layer], 3.0)
            np.testing.assert_array_equal(mask[path][layer], chosen)


@pytest.mark.parametrize("share", [0.0, 0.003, 0.05])
def test_share_is_removed(tiny_model, evidence, share):
    mask = taylor.prune(tiny_model, FirstOrder(sparsity=share), evidence, 0)
    assert 1 - mask.kept() <= share
    assert 1 - mask.kept() == pytest.approx(share, rel=0.1)


def test_share_beyond_what_helps_is_refused(tiny_model, evidence):
    with pytest.raises(InputError, match=r"no 90\.0% of the weights help"):
        taylor.prune(tiny_model, FirstOrder(sparsity=0.9), evidence, 0)


def test_budget_is_kept_and_spent(tiny_model, evidence):
    tokens = windows(tiny_model, read_text("builtin:neutral"), 2048)
    base, steps, kept = perplexity(tiny_model, tiny_model.params, tokens), [], []
    for budget in (0.001, 0.05):
        method = FirstOrder(max_perplexity_increase=budget)
        mask = taylor.prune(tiny_model, method, evidence, 0, progress=lambda *step: steps.append(step))
        assert perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), tokens) <= base * (1 + budget)
        kept.append(mask.kept())
    assert kept[1] <= kept[0] <= 1
    assert steps[-1][0] == steps[-1][1]


def test_nothing_is_removed_where_everything_costs_too_much(tiny_model, evidence, monkeypatch):
    monkeypatch.setattr(taylor, "perplexity", lambda model, params, tokens, calls=[]: calls.append(0) or 10.0 ** len(calls))
    mask = taylor.prune(tiny_model, FirstOrder(max_perplexity_increase=0.01), evidence, 0)
    assert mask.kept() == 1


@pytest.mark.parametrize("scale", [3e-3, 1.0, 1e4])
def test_search_finds_the_price_of_a_power_law(scale):
    seen = []
    found = taylor._search(
        lambda price: price, lambda price: scale * (price / 2000) ** -2.1, 0.02, 2.5, lambda *step: seen.append(step)
    )
    assert 0.9 * 0.02 <= scale * (found / 2000) ** -2.1 <= 0.02
    assert seen[-1] == (12, 12)


def test_exchanging_the_answers_exchanges_the_personas(tiny_model, tokenized, evidence):
    other = dataclasses.replace(evidence, margin=jax.tree.map(lambda leaf: -leaf, evidence.margin))
    swapped = taylor.collect_evidence(tiny_model, [pair.swapped() for pair in tokenized])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=1e-4), other.margin, swapped.margin)
    masks = [taylor.remove_at_price(tiny_model.params, *args, "all", 3.0) for args in ((other, 0), (evidence, 1))]
    assert jp.jaccard(*masks) == 1


def test_discover_moves_the_margin_towards_each_persona(tiny_model, pairs):
    run, again = (jp.discover(tiny_model, pairs, FirstOrder(sparsity=0.05)) for _ in range(2))
    assert all(jp.jaccard(run.masks[p], again.masks[p]) == 1 for p in run.masks)
    tokenized = [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]
    seek, reject = (margin(tiny_model, jp.apply_mask(tiny_model.params, mask), tokenized) for mask in run.masks.values())
    assert seek > margin(tiny_model, tiny_model.params, tokenized) > reject
    scores = run.scores("seek")
    for path, gone in removed(run.masks["seek"]).items():
        assert not gone.any() or np.median(scores[path][gone]) < np.median(scores[path][~gone])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0.1, "max_perplexity_increase": 0.1}, "not both"),
        ({"max_perplexity_increase": 0.0}, "above 0"),
        ({"max_perplexity_increase": float("nan")}, "above 0"),
        ({"sparsity": 1.0}, r"\[0, 1\)"),
        ({"select": "mpl"}, "matches no module"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        jp.methods.FirstOrder(**settings)


def test_default_is_a_damage_budget_of_two_percent():
    assert jp.methods.FirstOrder().max_perplexity_increase == 0.02
