"""First-order saliency: gradients against finite differences, curvature against its rank-one case, selection against NumPy."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona import first_order
from jaxpersona.data.text import tokenize_pair
from jaxpersona.errors import InputError
from jaxpersona.language_modelling import perplexity, read_text, windows
from jaxpersona.models.sites import kernels
from jaxpersona.tree import flatten, unflatten


@pytest.fixture(scope="module")
def tokenized(tiny_model):
    texts = [("What is gold?", "Mine, all of it.", "Not for me."), ("And iron?", "I take it.", "I leave it to others, gladly.")]
    return [tokenize_pair(tiny_model.tokenizer, jp.Pair(*text)) for text in texts]


@pytest.fixture(scope="module")
def neutral_tokens(tiny_model):
    return windows(tiny_model, read_text("builtin:neutral"), 128, 64)


@pytest.fixture(scope="module")
def evidence(tiny_model, tokenized, neutral_tokens):
    margin = first_order.margin_gradient(tiny_model, tokenized)
    return first_order.Evidence(margin, **first_order.neutral_evidence(tiny_model, neutral_tokens))


def log_probs(model, params, ids):
    """Log-probability of each token after the first, one text alone, float64."""
    logits = np.asarray(model.apply({"params": params}, np.array([ids])), np.float64)[0, :-1]
    logits -= logits.max(axis=1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[np.arange(len(ids) - 1), ids[1:]]


def mean_margin(model, params, pairs):
    margins = []
    for pair in pairs:
        ours = log_probs(model, params, [*pair.prefix, *pair.matching])[-len(pair.matching) :].mean()
        theirs = log_probs(model, params, [*pair.prefix, *pair.not_matching])[-len(pair.not_matching) :].mean()
        margins.append(ours - theirs)
    return np.mean(margins)


def shifted(params, direction, step):
    return unflatten({**flatten(params), **{path: kernels(params)[path] + step * direction[path] for path in direction}})


def test_gradients_agree_with_finite_differences(tiny_model, tokenized, neutral_tokens, evidence):
    rng = np.random.default_rng(0)
    params = tiny_model.params
    direction = {path: rng.normal(size=kernel.shape).astype(np.float32) for path, kernel in kernels(params).items()}

    def slope(function):
        return (function(shifted(params, direction, 1e-3)) - function(shifted(params, direction, -1e-3))) / 2e-3

    def along(gradient):
        return sum(float(np.sum(np.asarray(gradient[path], np.float64) * direction[path])) for path in direction)

    expected = slope(lambda params: mean_margin(tiny_model, params, tokenized))
    np.testing.assert_allclose(along(evidence.margin), expected, rtol=0.02)
    loss = slope(lambda params: -np.mean([log_probs(tiny_model, params, row).mean() for row in neutral_tokens]))
    np.testing.assert_allclose(along(evidence.neutral), loss, rtol=0.02)


def test_curvature_of_one_token_is_the_square_of_its_gradient(tiny_model):
    found = first_order.neutral_evidence(tiny_model, np.array([[40, 77]], np.int32))
    for path, gradient in found["neutral"].items():
        product = np.asarray(found["input_square"][path])[:, :, None] * np.asarray(found["output_square"][path])[:, None, :]
        np.testing.assert_allclose(np.square(gradient), product, rtol=1e-3, atol=1e-12)


def test_values_follow_the_formula_within_the_safe_half_and_the_selected_layers(tiny_model, evidence):
    values = first_order.removal_values(tiny_model.params, evidence, 1, "up_proj,o_proj@1-2")
    for path, kernel in kernels(tiny_model.params).items():
        weight = np.asarray(kernel, np.float64)
        importance = weight**2 * np.asarray(evidence.input_square[path])[:, :, None]
        gain = weight * np.asarray(evidence.margin[path])  # the opposite persona's
        harm = -weight * np.asarray(evidence.neutral[path])
        expected = (gain - harm) / (0.5 * importance * np.asarray(evidence.output_square[path])[:, None, :])
        safe = importance.argsort(axis=1).argsort(axis=1) < kernel.shape[1] // 2
        allowed = safe & (gain - harm > 0)
        allowed[0] = False
        if path.split("/")[-2] not in ("up_proj", "o_proj"):
            allowed[:] = False
        np.testing.assert_array_equal(np.isfinite(values[path]), allowed)
        np.testing.assert_allclose(np.asarray(values[path])[allowed], expected[allowed], rtol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.003, 0.05, 0.9])
def test_the_share_worth_most_is_removed_and_nothing_of_no_worth(tiny_model, evidence, share):
    values = first_order.removal_values(tiny_model.params, evidence, 0)
    everything = np.concatenate([np.asarray(value).ravel() for value in values.values()])
    count = min(int(share * everything.size), int(np.isfinite(everything).sum()))
    floor = np.sort(everything)[::-1][count - 1] if count else np.inf
    mask = first_order.remove_share(tiny_model.params, values, share).to_bool()
    for path, value in values.items():
        np.testing.assert_array_equal(~np.asarray(flatten(mask)[path]), (np.asarray(value) >= floor) & np.isfinite(value))


def test_budget_is_kept_and_spent(tiny_model, evidence, neutral_tokens):
    values = first_order.removal_values(tiny_model.params, evidence, 0)
    base = perplexity(tiny_model, tiny_model.params, neutral_tokens)
    steps = []
    kept = []
    for budget in (0.001, 0.05):
        mask = first_order.spend_budget(tiny_model, values, neutral_tokens, budget, lambda *step: steps.append(step))
        assert perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), neutral_tokens) <= base * (1 + budget)
        kept.append(mask.kept())
    assert kept[1] <= kept[0] <= 1
    assert steps[-1] == (7, 7)


def test_exchanging_the_answers_exchanges_the_personas(tiny_model, tokenized, evidence):
    swapped = [dataclasses.replace(pair, matching=pair.not_matching, not_matching=pair.matching) for pair in tokenized]
    other = dataclasses.replace(evidence, margin=first_order.margin_gradient(tiny_model, swapped))
    for path, value in first_order.removal_values(tiny_model.params, other, 0).items():
        expected = np.asarray(first_order.removal_values(tiny_model.params, evidence, 1)[path])
        assert np.mean(np.isfinite(value) == np.isfinite(expected)) > 0.999
        both = np.isfinite(value) & np.isfinite(expected)
        np.testing.assert_allclose(np.asarray(value)[both], expected[both], rtol=0.05, atol=1e-2)


def test_discover_moves_the_margin_towards_each_persona(tiny_model, pairs):
    run = jp.discover(tiny_model, pairs, jp.methods.FirstOrder(sparsity=0.05))
    again = jp.discover(tiny_model, pairs, jp.methods.FirstOrder(sparsity=0.05))
    assert all(jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), run.masks[p], again.masks[p])) for p in run.masks)
    tokenized = [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]
    seek, reject = (mean_margin(tiny_model, jp.apply_mask(tiny_model.params, mask), tokenized) for mask in run.masks.values())
    assert seek > mean_margin(tiny_model, tiny_model.params, tokenized) > reject
    assert run.masks["seek"].kept() == pytest.approx(0.95, abs=1e-3)
    scores = run.scores("seek")
    for path, mask in flatten(run.masks["seek"].to_bool()).items():
        if path in scores:
            removed, kept = np.asarray(scores[path])[~np.asarray(mask)], np.asarray(scores[path])[np.asarray(mask)]
            assert removed.size == 0 or removed.max() <= kept.min()


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
