"""Searches the price of damage at which a mask meets its budget.

The price is a Lagrange multiplier: a mask removes the weights whose removal gains more than the price times its damage. The
search takes functions and does not depend on a model.
"""

import dataclasses
import logging
import math
from collections.abc import Callable
from typing import NamedTuple

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.masks.masks import Masks

FIRST_PRICE = 2000.0
_STEPS = 12
_log = logging.getLogger(__name__)

MasksAtPrice = Callable[[float], Masks]
"""Returns the masks at a price, in margin per nat of loss."""
Damage = Callable[[Masks], float]
"""Returns the increase of log-perplexity (nats per token) under masks."""


class Priced(NamedTuple):
    """Masks and the price they were found at, which is a good first price for the opposite persona."""

    masks: Masks
    price: float


def within_budget(
    masks_at: MasksAtPrice,
    damage: Damage,
    max_perplexity_increase: float,
    stage: Stage = QUIET,
    first_price: float = FIRST_PRICE,
    tolerance: float = 0.1,
) -> Priced:
    """Returns the strongest masks whose damage stays within the budget; warns if every price cost too much.

    Args:
      damage: measures the damage of masks.
      max_perplexity_increase: the budget, relative: 0.02 for 2 %.
      stage: progress counts prices.
      first_price: the price to try first.
      tolerance: share of the budget that may stay unused.
    """
    found = _search(masks_at, damage, math.log1p(max_perplexity_increase), 2.5, stage, first_price, tolerance)
    if found is not None:
        return found
    _log.warning("%s: no price met the budget of %.2g; the mask removes nothing", stage.name, max_perplexity_increase)
    return Priced(masks_at(math.inf), FIRST_PRICE)


def of_share(masks_at: MasksAtPrice, sparsity: float, stage: Stage = QUIET, first_price: float = FIRST_PRICE) -> Priced:
    """Returns the masks that remove a fraction of all weights.

    Args:
      sparsity: the fraction, in [0, 1).
      stage: progress counts prices.
      first_price: the price to try first.

    Raises:
      InputError: if too few weights have a positive gain to reach 0.9 of the fraction.
    """
    if sparsity == 0:
        return Priced(masks_at(math.inf), FIRST_PRICE)
    found = _search(masks_at, lambda masks: 1 - masks.kept(), sparsity, 1.0, stage, first_price, 0.02)
    if found is None or 1 - found.masks.kept() < 0.9 * sparsity:
        raise InputError(f"no {sparsity:.1%} of the weights help the persona when removed; give a lower sparsity")
    return found


@dataclasses.dataclass
class _Bracket:
    """State of the search.

    Attributes:
      step: number of prices tried.
      price: the next price.
      low: the last price that removed too much; 0 before there is one.
      high: the last price within the target; infinite before there is one.
      over, under: the measures at ``low`` and ``high``.
      best: the price with the largest measure within the target; 0 if there is none yet.
      most: the measure at ``best``.
    """

    step: int = 0
    price: float = FIRST_PRICE
    low: float = 0.0
    high: float = math.inf
    over: float = math.inf
    under: float = 0.0
    best: float = 0.0
    most: float = -math.inf


def _search(
    masks_at: MasksAtPrice,
    measure: Callable[[Masks], float],
    target: float,
    exponent: float,
    stage: Stage,
    first_price: float,
    tolerance: float,
) -> Priced | None:
    """Returns the masks with the largest measure of at most ``target``, or None if no price reached it.

    Assumes at first that the measure falls as price ** -exponent. Once one price lies on each side of the target, interpolates
    between them in log-log space. Stops when the measure is at most ``tolerance`` (relative) below the target.
    """
    at = _Bracket(**({name: value.item() for name, value in (stage.load() or {}).items()} or {"price": first_price}))
    best: Masks | None = None
    stage.progress(at.step, _STEPS)
    while at.step < _STEPS:
        masks = masks_at(at.price)
        value = measure(masks)
        value = value if math.isfinite(value) else math.inf
        if at.most < value <= target:
            best, at.best, at.most = masks, at.price, value
        done = (1 - tolerance) * target <= value <= target
        at.step = _STEPS if done else at.step + 1
        if value <= target:
            at.high, at.under = at.price, value
        else:
            at.low, at.over = at.price, value
        at.price = _next_price(at, value, (1 - tolerance / 2) * target, exponent)
        stage.save(vars(at))
        stage.progress(at.step, _STEPS)
    if not at.best:
        return None
    return Priced(best or masks_at(at.best), at.best)  # a resumed run may have tried the best price before


def _next_price(at: _Bracket, value: float, aim: float, exponent: float) -> float:
    """Estimates the price at which the measure is ``aim``; ``value`` is the measure at the last price."""
    if at.low == 0 or at.high == math.inf:
        ratio = min(max(value / aim, 1 / 30), 30.0)  # clipped, because a measured damage can be negative
        return at.price * ratio ** (1 / exponent)
    if not 0 < at.under < aim < at.over < math.inf:
        return math.sqrt(at.low * at.high)
    fraction = math.log(at.over / aim) / math.log(at.over / at.under)
    return at.low * (at.high / at.low) ** min(max(fraction, 0.1), 0.9)
