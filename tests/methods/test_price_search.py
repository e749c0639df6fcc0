"""The price search meets its budget on power laws, resumes, and warns or refuses where no price does."""

import math

import numpy as np
import pytest
from conftest import recorded

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

    def kept(self):
        return 1 - min(0.5, 100 / self.price)


class Trials:
    """A damage that falls as price ** -2.1 and records the prices tried."""

    def __init__(self, scale=1.0, stop_after=math.inf):
        self.scale, self.stop_after, self.prices = scale, stop_after, []

    def __call__(self, price):
        if len(self.prices) == self.stop_after:
            raise KeyboardInterrupt
        self.prices.append(price)
        return self.scale * (price / 2000) ** -2.1


def unchanged(price):
    """Returns the price itself in place of masks."""
    return price


@pytest.mark.parametrize("scale", [3e-3, 1.0, 1e4])
def test_search_finds_the_price_of_a_power_law(scale):
    stage, seen = recorded()
    damage = Trials(scale)
    found = price_search._search(unchanged, damage, 0.02, 2.5, stage, FIRST_PRICE, 0.1)
    assert found.masks == found.price
    assert 0.9 * 0.02 <= damage(found.price) <= 0.02
    assert seen[-1] == (price_search._STEPS, price_search._STEPS) == (12, 12)


@pytest.mark.parametrize("scale", [3e-3, 1.0, 1e4])
def test_damage_stays_within_the_budget_and_uses_it(scale):
    damage = Trials(scale)
    found = within_budget(unchanged, damage, BUDGET)
    assert 0.9 * math.log1p(BUDGET) <= damage(found.price) <= math.log1p(BUDGET)


def test_the_first_price_is_tried_first_and_a_good_one_suffices():
    damage = Trials()
    price = within_budget(unchanged, damage, BUDGET).price
    assert damage.prices[0] == FIRST_PRICE and len(damage.prices) > 1
    again = Trials()
    assert within_budget(unchanged, again, BUDGET, first_price=price).price == price
    assert again.prices == [price]


def test_a_larger_tolerance_needs_fewer_tries():
    strict, loose = Trials(30.0), Trials(30.0)
    within_budget(unchanged, strict, BUDGET, tolerance=0.001)
    found = within_budget(unchanged, loose, BUDGET, tolerance=0.5)
    assert len(loose.prices) < len(strict.prices)
    assert 0.5 * math.log1p(BUDGET) <= loose(found.price) <= math.log1p(BUDGET)


def test_an_empty_result_warns_and_leaves_the_next_search_the_default_price(caplog):
    found = within_budget(unchanged, lambda price: math.nan, BUDGET, Stage(name="search, seek"))
    assert found == (math.inf, FIRST_PRICE)
    assert caplog.messages == ["search, seek: no price met the budget of 0.02; the mask removes nothing"]


def test_success_does_not_warn(caplog):
    within_budget(unchanged, Trials(), BUDGET)
    assert not caplog.messages


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3])
def test_a_share_is_removed(share):
    found = of_share(Removal, share)
    assert found.masks.price == found.price
    assert 0.98 * share <= 1 - found.masks.kept() <= share


def test_no_share_at_all_is_the_infinite_price():
    found = of_share(Removal, 0)
    assert (found.masks.price, found.masks.kept(), found.price) == (math.inf, 1, FIRST_PRICE)


def test_a_share_beyond_what_helps_is_refused():
    with pytest.raises(InputError, match=r"no 90\.0% of the weights help"):
        of_share(Removal, 0.9)


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_search_resumes_where_it_was_stopped(tmp_path, tries):
    whole = Trials(1e4)
    expected = within_budget(unchanged, whole, BUDGET, QUIET)
    stage = Stage(store=CheckpointFolder(tmp_path), name="search")
    first, rest = Trials(1e4, stop_after=tries), Trials(1e4)
    with pytest.raises(KeyboardInterrupt):
        within_budget(unchanged, first, BUDGET, stage)
    assert within_budget(unchanged, rest, BUDGET, stage) == expected
    np.testing.assert_allclose(first.prices + rest.prices, whole.prices)
