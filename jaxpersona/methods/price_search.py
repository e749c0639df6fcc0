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
PERPLEXITY_INCREASE = "perplexity increase"
_STEPS = 14
_EXPONENT = 2.5
"""Damage falls about as price ** -2.5; measured anew after two tries."""
_TOLERANCE = 0.1
_log = logging.getLogger(__name__)

MasksAtPrice = Callable[[float], Masks]
"""Returns the masks at a price, in margin per nat of loss."""
Damage = Callable[[Masks], float]
"""Returns the increase of log-perplexity under masks, in nats per token, or an upper bound of it (``damage.py``)."""


@dataclasses.dataclass(frozen=True)
class Reached:
    """How near a search came to its target.

    Attributes:
      kind: what was searched for: ``perplexity increase``, or ``share of weights``.
      target: the wanted value, as a fraction.
      value: that of the masks found; of a perplexity increase with its reserve (``damage.py``).
      price: that they were found at, in margin per nat of loss.
      tries: number of prices tried.
      note: says what is wrong if the value lies more than 10 % below the target; else empty.
    """

    kind: str
    target: float
    value: float
    price: float
    tries: int
    note: str = ""


class Priced(NamedTuple):
    """Masks, and the outcome of the search for their price, which is a good first price for the opposite persona."""

    masks: Masks
    reached: Reached


def within_budget(
    masks_at: MasksAtPrice,
    damage: Damage,
    max_perplexity_increase: float,
    stage: Stage = QUIET,
    first_price: float = FIRST_PRICE,
    tolerance: float = _TOLERANCE,
) -> Priced:
    """Returns the strongest masks whose damage stays within the budget; warns if they leave much of it unused.

    Args:
      damage: measures the damage of masks.
      max_perplexity_increase: the budget, relative: 0.02 for 2 %.
      stage: progress counts prices.
      first_price: the price to try first.
      tolerance: share of the budget that may stay unused.

    Raises:
      InputError: if no weight can be removed within the budget.
    """
    target = math.log1p(max_perplexity_increase)
    found = _search(masks_at, damage, target, stage, first_price, tolerance)
    if found.masks is None or found.masks.kept() == 1:
        where = f"{stage.name}: " if stage.name else ""
        raise InputError(
            f"{where}no weight can be removed within a perplexity increase of {max_perplexity_increase:.2%}; "
            f"the mildest mask tried costs {math.expm1(found.least):.2%}; raise max_perplexity_increase"
        )
    value = math.expm1(found.value)
    reached = Reached(PERPLEXITY_INCREASE, max_perplexity_increase, value, found.price, found.tries)
    return Priced(found.masks, _noted(reached, found.value / target, stage, tolerance))


def of_share(masks_at: MasksAtPrice, sparsity: float, stage: Stage = QUIET, first_price: float = FIRST_PRICE) -> Priced:
    """Returns the masks that remove a fraction of all weights.

    Args:
      sparsity: the fraction, in [0, 1).
      stage: progress counts prices.
      first_price: the price to try first.

    Raises:
      InputError: if too few weights have a positive gain to reach 0.9 of the fraction.
    """
    kind = "share of weights"
    if sparsity == 0:
        return Priced(masks_at(math.inf), Reached(kind, 0.0, 0.0, FIRST_PRICE, 0))
    found = _search(masks_at, lambda masks: 1 - masks.kept(), sparsity, stage, first_price, 0.02)
    if found.masks is None or found.value < 0.9 * sparsity:
        raise InputError(f"no {sparsity:.1%} of the weights help the persona when removed; give a lower sparsity")
    return Priced(found.masks, Reached(kind, sparsity, found.value, found.price, found.tries))


def _noted(reached: Reached, used: float, stage: Stage, tolerance: float) -> Reached:
    """Returns the outcome with a note, which is also logged, if little of the budget is ``used``, as the search counts it."""
    if used >= 1 - max(tolerance, _TOLERANCE):
        return reached
    note = f"the search ended at a {reached.kind} of {reached.value:.2%}, below its target of {reached.target:.2%}"
    _log.warning("%s: %s", stage.name, note)
    return dataclasses.replace(reached, note=note)


class _Found(NamedTuple):
    """The outcome of ``_search``: masks of the largest measure within the target (None if there are none), and that measure."""

    masks: Masks | None
    value: float
    price: float
    tries: int
    least: float


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
      least: the smallest measure so far.
      exponent: the measure is taken to fall as price ** -exponent.
      done: 1 once the search has ended.
    """

    step: int = 0
    price: float = FIRST_PRICE
    low: float = 0.0
    high: float = math.inf
    over: float = math.inf
    under: float = 0.0
    best: float = 0.0
    most: float = -math.inf
    least: float = math.inf
    exponent: float = _EXPONENT
    done: float = 0.0


def _search(
    masks_at: MasksAtPrice,
    measure: Callable[[Masks], float],
    target: float,
    stage: Stage,
    first_price: float,
    tolerance: float,
) -> _Found:
    """Returns the masks with the largest measure of at most ``target``.

    Goes up or down, at least doubling or halving the price from the second try on, until one price lies on each side of the
    target; then interpolates between them in log-log space. Stops when the measure is at most ``tolerance`` (relative) below
    the target, or when a lower price removes no more weights.
    """
    at = _Bracket(**({name: value.item() for name, value in (stage.load() or {}).items()} or {"price": first_price}))
    best: Masks | None = None
    stage.progress(at.step, _STEPS)
    while at.step < _STEPS and not at.done:
        price, masks = at.price, masks_at(at.price)
        value = measure(masks)
        value = value if math.isfinite(value) else math.inf
        if value <= target and best is not None and price < at.best and masks.kept() == best.kept() < 1:
            at.done = 1.0  # every weight that helps is removed
        if at.most < value <= target:
            best, at.best, at.most = masks, price, value
        if (1 - tolerance) * target <= value <= target:
            at.done = 1.0
        at.step, at.least = at.step + 1, min(at.least, value)
        _update(at, value, target, (1 - tolerance / 2) * target)
        stage.save(vars(at))
        stage.progress(_STEPS if at.done else at.step, _STEPS)
    if not at.best:
        return _Found(None, 0.0, FIRST_PRICE, at.step, at.least)
    return _Found(best or masks_at(at.best), at.most, at.best, at.step, at.least)  # a resumed run may have tried the best before


def _update(at: _Bracket, value: float, target: float, aim: float) -> None:
    """Puts the measure at the last price into the bracket, and sets the price at which the measure is estimated to be ``aim``."""
    previous = (at.high, at.under) if value <= target else (at.low, at.over)
    if value <= target:
        at.high, at.under = at.price, value
    else:
        at.low, at.over = at.price, value
    if at.low > 0 and at.high < math.inf:
        at.price = _between(at, aim)
        return
    first = not 0 < previous[0] < math.inf
    if not first and 0 < value < math.inf and 0 < previous[1] < math.inf and value != previous[1]:
        slope = math.log(value / previous[1]) / math.log(previous[0] / at.price)
        at.exponent = min(max(slope, 0.5), 4.0)
    ratio = min(max(value / aim, 1 / 30), 30.0)  # clipped, because a measured damage can be negative
    factor = ratio ** (1 / at.exponent)
    if not first:
        factor = max(factor, 2.0) if value > target else min(factor, 0.5)
    at.price = at.price * factor


def _between(at: _Bracket, aim: float) -> float:
    """Returns a price between the bracket's, by interpolation in log-log space, or the middle where that is not possible."""
    if not 0 < at.under < aim < at.over < math.inf:
        return math.sqrt(at.low * at.high)
    fraction = math.log(at.over / aim) / math.log(at.over / at.under)
    return at.low * (at.high / at.low) ** min(max(fraction, 0.1), 0.9)
