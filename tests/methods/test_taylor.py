"""Taylor pruning keeps and spends its budget, mirrors the personas, and moves the margin."""

import dataclasses
import math

import numpy as np
import pytest
from conftest import LITTLE, recorded
from margins import log_probs, margin, removed, two_pairs

import jaxpersona as jp
from jaxpersona.calibration import taylor_statistics
from jaxpersona.calibration.misplaced_answers import misplaced_answers
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.data.text import tokenize_pair
from jaxpersona.methods import Taylor, price_search, taylor
from jaxpersona.models.perplexity import perplexity


@pytest.fixture(scope="module")
def statistics(tiny_model):
    pairs = two_pairs(tiny_model)
    found = taylor_statistics.collect(tiny_model, pairs, amount=LITTLE)
    return dataclasses.replace(found, shared=taylor_statistics.collect_shared(tiny_model, pairs, 0.4, 0.2))


@pytest.mark.parametrize("share", [0.0, 0.003, 0.05])
def test_share_is_removed(tiny_model, statistics, share):
    mask = taylor.prune(tiny_model, Taylor(sparsity=share), statistics, 0).masks
    assert 1 - mask.kept() <= share
    assert 1 - mask.kept() == pytest.approx(share, rel=0.1)


def test_share_beyond_what_helps_is_refused(tiny_model, statistics):
    with pytest.raises(InputError, match=r"no 90\.0% of the weights help"):
        taylor.prune(tiny_model, Taylor(sparsity=0.9), statistics, 0)


def test_budget_is_kept_and_spent(tiny_model, statistics):
    tokens = Taylor().budget_windows(tiny_model)
    base, kept = perplexity(tiny_model, tiny_model.params, tokens), []
    stage, steps = recorded()
    for budget in (0.001, 0.05):
        mask = taylor.prune(tiny_model, Taylor(max_perplexity_increase=budget), statistics, 0, stage).masks
        assert perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), tokens) <= base * (1 + budget)
        kept.append(mask.kept())
    assert kept[1] <= kept[0] <= 1
    assert steps[-1][0] == steps[-1][1]


def test_damage_is_measured_on_the_budgets_tokens(tiny_model):
    assert Taylor().budget_windows(tiny_model).shape == (4, 512)
    assert Taylor(budget_tokens=1024).budget_windows(tiny_model).shape == (2, 512)


def test_where_everything_costs_too_much_the_cost_is_named(tiny_model, statistics, monkeypatch):
    monkeypatch.setattr(taylor, "increase", lambda *losses: math.log(10))
    with pytest.raises(InputError, match=r"^no weight can be removed within .* 1.00%; the mildest mask tried costs 900"):
        taylor.prune(tiny_model, Taylor(max_perplexity_increase=0.01), statistics, 0)


@pytest.mark.parametrize("form", ["resident", "streamed"])
def test_the_second_search_starts_at_the_first_ones_price(tiny_model, streamed, pairs, monkeypatch, form):
    seen, of_share = [], price_search.of_share

    def recorded(masks_at, sparsity, stage, first_price):
        found = of_share(masks_at, sparsity, stage, first_price)
        seen.append((first_price, found.reached.price))
        return found

    monkeypatch.setattr(price_search, "of_share", recorded)
    jp.discover(tiny_model if form == "resident" else streamed, pairs, Taylor(sparsity=0.05), generated=LITTLE)
    (first, result), (second, _) = seen
    assert first == price_search.FIRST_PRICE != result == second


def test_the_gradient_that_both_personas_share_is_collected_too(tiny_model, pairs):
    stages = []
    calibration = jp.calibrate(tiny_model, pairs, generated=LITTLE, stage=Stage(lambda name, *_: stages.append(name)))
    Taylor().collect(calibration)
    order = list(dict.fromkeys(stages))
    assert order == [f"calibrate, {part}" for part in ("answers", "generate text", "generated text", "pairs")]
    assert "taylor" in vars(calibration) and len(calibration.shared) == 1


def test_discover_moves_the_margin_towards_each_persona(tiny_model, pairs):
    run, again = (jp.discover(tiny_model, pairs, Taylor(sparsity=0.05), generated=LITTLE) for _ in range(2))
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
        ({"max_perplexity_increase": 0.1, "budget_tokens": 511}, "budget_tokens is 511; give at least 512"),
        ({"max_perplexity_increase": 0.1, "budget_tolerance": 0.0}, r"budget_tolerance is 0\.0; it must lie in \(0, 1\)"),
        ({"max_perplexity_increase": 0.1, "budget_tolerance": 1.0}, r"budget_tolerance is 1\.0; it must lie in \(0, 1\)"),
        ({"budget_tokens": 511}, "budget_tokens is 511; give at least 512"),
        ({"budget_tolerance": 1.0}, r"budget_tolerance is 1\.0; it must lie in \(0, 1\)"),
        ({"sparsity": 1.0}, r"\[0, 1\)"),
        ({"max_perplexity_increase": float("inf")}, "above 0"),
        ({"sparsity": 0.1, "budget_tokens": 600}, "budget_tokens belongs to max_perplexity_increase; leave it out with sparsity"),
        ({"sparsity": 0.1, "budget_tolerance": 7}, "budget_tolerance belongs to max_perplexity_increase"),
        ({"sparsity": 0.1, "budget_text": __file__}, "budget_text belongs to max_perplexity_increase"),
        ({"select": "mpl"}, "matches no module"),
        ({"own_weight": -0.1}, "own_weight is -0.1; it must not be negative"),
        ({"own_weight": float("nan")}, "own_weight is nan"),
        ({"misplaced_weight": -0.1}, "misplaced_weight is -0.1; it must not be negative"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        jp.methods.Taylor(**settings)


def test_a_larger_own_weight_makes_own_answers_likelier(tiny_model, pairs):
    tokenized = [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]
    found = {}
    for own_weight in (0.0, 2.0):
        method = Taylor(sparsity=0.05, own_weight=own_weight, misplaced_weight=0)
        run = jp.discover(tiny_model, pairs, method, generated=LITTLE)
        scores = [log_probs(tiny_model, jp.apply_mask(tiny_model.params, mask), tokenized) for mask in run.masks.values()]
        found[own_weight] = [scores[persona][persona] for persona in (0, 1)]
    assert all(more > less for less, more in zip(*found.values(), strict=True))


def test_misplaced_answers_become_less_likely(tiny_model, pairs):
    tokenized = [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]
    texts = [text for kind in misplaced_answers(tiny_model, tokenized) for text in kind]
    found = []
    for weight in (0.0, 1.0):
        run = jp.discover(tiny_model, pairs, Taylor(sparsity=0.05, own_weight=0, misplaced_weight=weight), generated=LITTLE)
        found.append([log_probs(tiny_model, jp.apply_mask(tiny_model.params, mask), texts)[0] for mask in run.masks.values()])
    assert all(less < more for more, less in zip(*found, strict=True))


def test_default_is_a_damage_budget_of_two_percent():
    assert jp.methods.Taylor().max_perplexity_increase == 0.02
