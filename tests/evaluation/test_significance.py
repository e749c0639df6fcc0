"""Intervals and p-values agree with SciPy and with plain binomial sums."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.evaluation.significance import accuracy_interval, difference_interval, mcnemar


@pytest.mark.parametrize("confidence", [0.95, 0.8])
@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 9), (4, 9), (9, 9), (120, 200)])
def test_accuracy_interval_is_wilsons(right, n, confidence):
    expected = scipy.stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    found = accuracy_interval(np.repeat([1.0, 0.0], [right, n - right]), confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(correct=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60))
def test_accuracy_interval_holds_the_accuracy_and_mirrors(correct):
    correct = np.array(correct)
    low, high = accuracy_interval(correct)
    assert 0 <= low <= correct.mean() + 1e-12 and correct.mean() - 1e-12 <= high <= 1
    assert accuracy_interval(1 - correct) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_a_tie_counts_half():
    assert accuracy_interval(np.array([0.5, 0.5, 1.0, 0.0])) == accuracy_interval(np.array([1.0, 0.0, 1.0, 0.0]))


def test_bootstrap_interval_is_seeded_and_turns_with_the_sign():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40))
    found = difference_interval(first, second, seed=1)
    assert found == difference_interval(first, second, seed=1)
    others = {difference_interval(first, second, seed) for seed in range(2, 8)}
    assert len(others) > 1
    for other in others:
        assert other == pytest.approx(found, abs=0.06)
    low, high = found
    assert difference_interval(second, first, seed=1) == pytest.approx((-high, -low), abs=0.03)
    assert low < (first - second).mean() < high


def test_bootstrap_interval_is_that_of_scipy():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.3, 1, 50), rng.normal(0, 1, 50)
    expected = scipy.stats.bootstrap((first - second,), np.mean, method="percentile", n_resamples=5000, rng=4)
    assert difference_interval(first, second) == pytest.approx(tuple(expected.confidence_interval), abs=0.03)
    narrow = difference_interval(first, second, confidence=0.5)
    assert np.diff(narrow) == pytest.approx(2 * 0.674 * (first - second).std() / 50**0.5, rel=0.1)


def test_bootstrap_interval_covers_the_true_mean():
    rng = np.random.default_rng(5)
    truth, trials, covered = 0.7 - 0.4, 400, 0
    for trial in range(trials):
        first, second = (rng.random(60) < share for share in (0.7, 0.4))
        low, high = difference_interval(first.astype(float), second.astype(float), seed=trial, resamples=400)
        covered += low <= truth <= high
    assert 0.9 < covered / trials < 0.98


def test_one_item_has_no_spread():
    assert difference_interval(np.array([1.0]), np.array([0.0])) == (1, 1)


def test_equal_vectors_differ_by_nothing():
    same = np.array([1.0, 0.0, 0.5, 1.0])
    assert difference_interval(same, same) == (0, 0)
    assert mcnemar(same, same) == 1


@settings(deadline=None, max_examples=60)
@given(items=st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 2), min_size=1, max_size=40))
def test_mcnemar_is_the_exact_binomial_of_the_discordant_items(items):
    first, second = map(np.array, zip(*items, strict=True))
    gained, lost = sum(a > b for a, b in items), sum(a < b for a, b in items)
    fewer = scipy.stats.binom.cdf(min(gained, lost), gained + lost, 0.5)
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * fewer))
    assert mcnemar(second, first) == pytest.approx(mcnemar(first, second))


def test_mcnemar_by_hand():
    first, second = np.array([1.0] * 9 + [0, 1, 0]), np.array([0.0] * 9 + [1, 1, 0])
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 10) / 2**10)
