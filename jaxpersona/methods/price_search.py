"""Search for the price of damage at which a mask meets its budget.

The price is a Lagrange multiplier: a mask removes the weights whose removal gains more than the price times its damage. Nothing
here knows a model: a search is given functions.
"""

import dataclasses
import math
from collections.abc import Callable

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.masks.masks import Masks

_FIRST_PRICE, _STEPS = 2000.0, 12

MasksAtPrice = Callable[[float], Masks]
"""Returns the masks at a price, in margin per nat of loss."""
Damage = Callable[[Masks], float]
"""Returns the increase of the logarithm of perplexity under masks."""


def within_budget(masks_at: MasksAtPrice, damage: Damage, max_perplexity_increase: float, stage: Stage = QUIET) -> Masks:
    """Returns the strongest masks whose damage stays within the budget.

    Args:
      damage: measures what masks cost.
      max_perplexity_increase: the budget, 0.02 for 2 %.
      stage: progress counts prices.
    """
    found = _search(masks_at, damage, math.log1p(max_perplexity_increase), 2.5, stage)
    return found or masks_at(math.inf)  # nothing is removed where every step cost too much


def of_share(masks_at: MasksAtPrice, sparsity: float, stage: Stage = QUIET) -> Masks:
    """Returns the masks that remove a share of all weights.

    Args:
      sparsity: the share, in [0, 1).
      stage: progress counts prices.

    Raises:
      InputError: when fewer weights than the share have a gain at all.
    """
    if sparsity == 0:
        return masks_at(math.inf)
    found = _search(masks_at, lambda masks: 1 - masks.kept(), sparsity, 1.0, stage, 0.02)
    if found is None or 1 - found.kept() < 0.9 * sparsity:
        raise InputError(f"no {sparsity:.1%} of the weights help the persona when removed; give a lower sparsity")
    return found


@dataclasses.dataclass
class _Bracket:
    """State of the search, between ``low``, a price that removed too much, and ``high``.

    Attributes:
      step: number of prices tried.
      price: the next one.
      over, under: the measures at ``low`` and ``high``.
      best: the price of the largest measure within the target, 0 while there is none.
      most: that measure.
    """

    step: int = 0
    price: float = _FIRST_PRICE
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
    tolerance: float = 0.1,
) -> Masks | None:
    """Finds the masks with the largest measure of at most ``target``; None if no step came below it.

    The measure falls with the price about as price ** -exponent, which tells the next price to try until one lies on either side
    of the target; then the power of the price that goes through both does. Stops within ``tolerance`` below the target.
    """
    at = _Bracket(**{name: value.item() for name, value in (stage.load() or {}).items()})
    best: Masks | None = None
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
    if best is None and at.best:  # found before the search was resumed
        return masks_at(at.best)
    return best


def _next_price(at: _Bracket, value: float, aim: float, exponent: float) -> float:
    """Estimates the price at which the measure is ``aim``; at the last price it is ``value``."""
    if at.low == 0 or at.high == math.inf:
        ratio = min(max(value / aim, 1 / 30), 30.0)  # a measured damage can be negative
        return at.price * ratio ** (1 / exponent)
    if not 0 < at.under < aim < at.over < math.inf:
        return math.sqrt(at.low * at.high)
    share = math.log(at.over / aim) / math.log(at.over / at.under)
    return at.low * (at.high / at.low) ** min(max(share, 0.1), 0.9)
