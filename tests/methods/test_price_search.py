"""The price search meets its budget on power laws of any exponent, resumes, and warns or refuses where no price does."""

import math

import numpy as np
import pytest
from conftest import recorded
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.methods import price_search
from jaxpersona.methods.price_search import FIRST_PRICE, of_share, within_budget

BUDGET = 0.02


class Removal:
    """Stands in for masks: removes a share that falls as 1 / price, at most half."""

    def __init__(self, price):
        self.price = price

    def __eq__(self, other):
        return self.price == other.price

    def kept(self):
        return 1 - min(0.5, 100 / self.price)


class Endless(Removal):
    """Removes more at every lower price."""

    def kept(self):
        return self.price / (self.price + 1)


class Trials:
    """A damage that falls as a power of the price, by 2.1 if not told otherwise, and records the prices tried."""

    def __init__(self, scale=1.0, stop_after=math.inf, exponent=2.1):
        self.scale, self.stop_after, self.exponent, self.prices = scale, stop_after, exponent, []

    def __call__(self, masks):
        if len(self.prices) == self.stop_after:
            raise KeyboardInterrupt
        self.prices.append(masks.price)
        return self.scale * (masks.price / 2000) ** -self.exponent


@settings(max_examples=200, deadline=None)
@given(st.floats(-4, 4), st.floats(0.7, 4))
@example(2.5984777265529075, 2.243459560348282)  # stops where the log of the increase is 10 % below, not the increase
def test_the_budget_is_used_whatever_scale_and_exponent(log_scale, exponent):
    trials = Trials(10**log_scale, exponent=exponent)
    found = within_budget(Endless, trials, BUDGET)
    assert found.reached.value == pytest.approx(math.expm1(trials(found.masks)))
    assert 0.9 * math.log1p(BUDGET) <= trials(found.masks) <= math.log1p(BUDGET)
    assert found.reached.tries == len(trials.prices) - 2 <= price_search._STEPS
    assert not found.reached.note


@settings(max_examples=100, deadline=None)
@given(st.floats(0.5, 5), st.floats(1, 5), st.integers(0, 9))
def test_a_noisy_damage_with_steps_is_bracketed(log_scale, exponent, seed):
    """Few weights make steps, and a measured damage is negative where it is small."""

    def damage(masks):
        noise = np.random.default_rng([seed, int(masks.price)]).normal(0, 1e-3)
        return 10**log_scale * (2 ** round(2 * math.log2(masks.price)) / 2000**2) ** (-exponent / 2) - 1e-3 + noise

    reached = within_budget(Removal, damage, BUDGET).reached
    assert 0 < reached.value <= BUDGET


def test_progress_ends_at_its_total():
    stage, seen = recorded()
    within_budget(Removal, Trials(), BUDGET, stage)
    assert seen[-1] == (price_search._STEPS, price_search._STEPS) == (14, 14)


def test_the_first_price_is_tried_first_and_a_good_one_suffices():
    damage = Trials()
    price = within_budget(Removal, damage, BUDGET).reached.price
    assert damage.prices[0] == FIRST_PRICE and len(damage.prices) > 1
    again = Trials()
    assert within_budget(Removal, again, BUDGET, first_price=price).reached.price == price
    assert again.prices == [price]


def test_a_larger_tolerance_needs_fewer_tries():
    strict, loose = Trials(30.0), Trials(30.0)
    within_budget(Removal, strict, BUDGET, tolerance=0.001)
    found = within_budget(Removal, loose, BUDGET, tolerance=0.5)
    assert len(loose.prices) < len(strict.prices)
    assert 0.5 * math.log1p(BUDGET) <= loose(found.masks) <= math.log1p(BUDGET)


@pytest.mark.parametrize(("damage", "cost"), [(lambda masks: math.nan, "inf%"), (lambda masks: math.log(1.05), "5.00%")])
def test_where_nothing_can_be_removed_the_mildest_try_is_named(damage, cost):
    message = f"search, seek: no weight can be removed within a perplexity increase of 2.00%; the mildest mask tried costs {cost}"
    with pytest.raises(InputError, match=message):
        within_budget(Removal, damage, BUDGET, Stage(name="search, seek"))


def test_masks_that_remove_nothing_are_no_result():
    with pytest.raises(InputError, match=r"no weight can be removed within a perplexity increase of 2.00%"):
        within_budget(lambda price: Removal(math.inf), lambda masks: 0.0, BUDGET)


def test_a_budget_that_cannot_be_used_up_is_told(caplog):
    trials = []

    def damage(masks):
        trials.append(masks.price)
        return 1e-3 * (1 - masks.kept())

    found = within_budget(Removal, damage, BUDGET, Stage(name="search, seek"))
    assert found.masks.kept() == 0.5 and len(trials) < price_search._STEPS
    assert found.reached.note == "the search ended at a perplexity increase of 0.05%, below its target of 2.00%"
    assert caplog.messages == [f"search, seek: {found.reached.note}"]


def test_two_prices_that_remove_nothing_do_not_end_the_search():
    class Late(Removal):
        """Removes nothing above a price of 300."""

        def kept(self):
            return 1.0 if self.price > 300 else 0.9705

    assert of_share(Late, 0.03).masks.kept() == 0.9705


def test_success_does_not_warn(caplog):
    within_budget(Removal, Trials(), BUDGET)
    assert not caplog.messages


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3])
def test_a_share_is_removed(share):
    found = of_share(Removal, share)
    assert found.masks.price == found.reached.price
    assert 0.98 * share <= 1 - found.masks.kept() <= share


def test_no_share_at_all_is_the_infinite_price():
    found = of_share(Removal, 0)
    assert (found.masks.price, found.masks.kept(), found.reached.price) == (math.inf, 1, FIRST_PRICE)


def test_a_share_beyond_what_helps_is_refused():
    with pytest.raises(InputError, match=r"no 90\.0% of the weights help"):
        of_share(Removal, 0.9)


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_search_resumes_where_it_was_stopped(tmp_path, tries):
    whole = Trials(1e4)
    expected = within_budget(Removal, whole, BUDGET, QUIET)
    stage = Stage(store=CheckpointFolder(tmp_path), name="search")
    first, rest = Trials(1e4, stop_after=tries), Trials(1e4)
    with pytest.raises(KeyboardInterrupt):
        within_budget(Removal, first, BUDGET, stage)
    assert within_budget(Removal, rest, BUDGET, stage) == expected
    np.testing.assert_allclose(first.prices + rest.prices, whole.prices)
