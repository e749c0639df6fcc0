"""Contrastive Taylor pruning: preference-margin Taylor saliency under a K-FAC damage constraint.

Setting a weight w to zero changes a function f of the parameters by -w df/dw, to first order (Taylor pruning; Molchanov et al.,
2019). Let f be the gain of a persona: the log-probability of its answers, times 1 + ``own_weight``, minus that of the opposite
ones, minus ``misplaced_weight`` times that of answers where they do not belong, all per token. Then removing the set of weights Z
from the kernels W

    gains    sum_ij Z_ij gain_ij,  gain_ij = -w_ij df/dw_ij                 in margin, to first order
    damages  1/2 sum_j d_j (D' A D)_jj,  D = W * Z                          in loss, to second order

with the Kronecker factors A, d of the Fisher information (``calibration/fisher.py``). Coordinate ascent selects the weights at a
given price of damage (``masks/coordinate_ascent.py``), and a search finds the price that meets the budget (``price_search.py``).
No weight is updated.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import ClassVar

import jax
import numpy as np

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.taylor_statistics import TaylorStatistics
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_not_negative, check_positive
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.neutral_text import VARIED_TEXT, read_text
from jaxpersona.masks.masks import Masks, apply_mask
from jaxpersona.methods import price_search, taylor_masks, taylor_streamed
from jaxpersona.methods.damage import increase
from jaxpersona.methods.method import Method, Need, Search
from jaxpersona.methods.price_search import Damage, MasksAtPrice, Priced
from jaxpersona.models import sizes
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import check_perplexity, losses, perplexity, windows
from jaxpersona.models.selector import Selector, check_sparsity
from jaxpersona.models.sites import module_of
from jaxpersona.models.streamed_model import StreamedModel

_WINDOW = 512  # tokens


@dataclasses.dataclass(frozen=True)
class Taylor(Method):
    """Removes the weights whose removal shifts the model towards a persona at the least damage.

    Attributes:
      sparsity: fraction of all maskable weights that is removed, over all layers together, in [0, 1).
      max_perplexity_increase: damage budget, instead of ``sparsity``: perplexity on ``budget_text`` may rise by this fraction
        (0.02: 2 %). Defaults to 0.02 if ``sparsity`` is not given either.
      budget_text: ``builtin:varied``, ``builtin:neutral``, or a UTF-8 text file.
      budget_tokens: number of its tokens on which damage is measured, at least 512.
      budget_reserve: keeps back so much of the budget that 95 of 100 masks should stay within it on 8,192 tokens of text that was
        not measured. More ``budget_tokens`` need less.
      budget_tolerance: fraction of the budget that may stay unused, in (0, 1); a larger one needs fewer tries.
      select: modules and layers that are masked (``models/selector.py``).
      own_weight: weight of the persona's own answers in the gain, beyond that of the opposite ones, at least 0. With 0, masks
        mainly make the opposite answers unlikely; a larger one also makes the own answers likely, and separates them less.
      misplaced_weight: weight, at least 0, of making answers unlikely where they do not belong: said again, or to another
        question. With 0, masked models loop.
    """

    sparsity: float | None = None
    max_perplexity_increase: float | None = None
    budget_text: str = VARIED_TEXT
    budget_tokens: int = 2048
    budget_reserve: bool = True
    budget_tolerance: float = 0.1
    select: str = "all"
    own_weight: float = 0.8
    misplaced_weight: float = 0.3
    name: ClassVar[str] = "taylor"
    needs: ClassVar[tuple[Need, ...]] = ("taylor",)
    takes_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Selector(self.select)
        check_not_negative(self.own_weight, "own_weight")
        check_not_negative(self.misplaced_weight, "misplaced_weight")
        read_text(self.budget_text)  # raises now rather than after minutes of calibration
        if self.sparsity is not None and self.max_perplexity_increase is not None:
            raise InputError("method taylor takes sparsity or max_perplexity_increase, not both")
        if self.sparsity is not None:
            check_sparsity(self.sparsity, "sparsity")
            for field in dataclasses.fields(self):
                if field.name.startswith("budget_") and getattr(self, field.name) != field.default:
                    raise InputError(f"{field.name} belongs to max_perplexity_increase; leave it out with sparsity")
            return
        increase = 0.02 if self.max_perplexity_increase is None else self.max_perplexity_increase
        object.__setattr__(self, "max_perplexity_increase", increase)
        check_positive(increase, "max_perplexity_increase", ", e.g. 0.02 for 2 %")
        if self.budget_tokens < _WINDOW:
            raise InputError(f"budget_tokens is {self.budget_tokens}; give at least {_WINDOW}")
        if not 0 < self.budget_tolerance < 1:
            raise InputError(f"budget_tolerance is {self.budget_tolerance}; it must lie in (0, 1)")

    @property
    def measures_perplexity(self) -> bool:
        """True if there is a damage budget."""
        return self.max_perplexity_increase is not None

    def check_model(self, config: ModelConfig) -> None:
        """Refuses layers that the model does not have."""
        for path, (layers, _, _) in sizes.kernel_shapes(config).items():
            Selector(self.select).matches(module_of(path), layers)

    def texts(self) -> dict[str, str]:
        """Returns the contents of the budget text."""
        return {"method.budget_text": read_text(self.budget_text)}

    def collect(self, calibration: Calibration) -> None:
        """Collects also the gradient of what both personas gain alike, if it counts."""
        if self._counts_shared:
            calibration.shared_gradient(self.own_weight, self.misplaced_weight)
        super().collect(calibration)

    def find(self, model: Model, calibration: Calibration, search: Search) -> Iterator[Masks]:
        """Yields the masks of both personas of a model in memory."""
        price = price_search.FIRST_PRICE
        statistics = self._statistics(calibration)
        for index, persona in enumerate(search.personas):
            found = prune(model, self, statistics, index, search.stage.part(f"search, {persona}"), price)
            search.reached[persona], price = found.reached, found.reached.price
            yield found.masks

    def find_streamed(self, model: StreamedModel, calibration: Calibration, search: Search) -> Iterator[Masks]:
        """Yields the masks of both personas; each price takes one pass over the weights."""
        tokens = self.budget_windows(model) if self.measures_perplexity else None
        damage = functools.partial(increase, reserve=self.budget_reserve)
        budget = taylor_streamed.Budget(tokens, damage, self.search_price)
        weights = self.own_weight, self.misplaced_weight
        yield from taylor_streamed.prune(model, calibration, self.select, weights, budget, search)

    def budget_windows(self, model: Model) -> np.ndarray:
        """Returns the tokens that damage is measured on, int32 [n, length]."""
        return windows(model, read_text(self.budget_text), self.budget_tokens, _WINDOW)

    def search_price(self, masks_at: MasksAtPrice, damage: Damage, stage: Stage, first_price: float) -> Priced:
        """Returns the masks at the price that meets the budget; calls ``damage`` only if there is a damage budget."""
        if self.sparsity is not None:
            return price_search.of_share(masks_at, self.sparsity, stage, first_price)
        assert self.max_perplexity_increase is not None
        budget, tolerance = self.max_perplexity_increase, self.budget_tolerance
        return price_search.within_budget(masks_at, damage, budget, stage, first_price, tolerance)

    def scores(self, model: Model, calibration: Calibration, persona: int, seed: int) -> dict[str, jax.Array]:
        """Returns minus gain over damage of removing each weight alone, float32 [layer, in, out] by kernel path."""
        return taylor_masks.scores(model.params, self._statistics(calibration), persona, self.own_weight)

    @property
    def _counts_shared(self) -> bool:
        """True if the gain has parts that both personas share."""
        return bool(self.own_weight or self.misplaced_weight)

    def _statistics(self, calibration: Calibration) -> TaylorStatistics:
        """Returns the statistics, with the gradient of what both personas gain alike if it counts."""
        if not self._counts_shared:
            return calibration.taylor
        return dataclasses.replace(calibration.taylor, shared=calibration.shared_gradient(self.own_weight, self.misplaced_weight))

    def statistics_bytes(self, config: ModelConfig, shards: float, data: int) -> tuple[float, float]:
        """Returns the bytes of gradients and factors, sharded over all devices.

        The sums of pairs hold both. Beside them lies one layer's gradient before it is added, with its kernels, and later the
        mean. A choice of weights gathers one layer's input moments.
        """
        whole, factors = 4 * sizes.maskable(config) / shards, sizes.outer_bytes(config, 1) / shards / data
        gradient, layer = whole / data, 2 * whole / config.num_layers
        mean = gradient / 2  # a sum is float32, a mean bfloat16
        shared = mean if self._counts_shared else 0.0
        moments = 4 * max(sizes.channels(config).values()) ** 2 if shards * data > 1 else 0.0
        return shared + gradient + factors + max(layer, mean), shared + mean + factors + moments

    def streamed_statistics_bytes(self, config: ModelConfig, shards: float) -> tuple[float, float]:
        """Returns the bytes of one layer's gradient and factors twice, as above, beside the factors of other texts."""
        gradient, factors = 4 * sizes.maskable(config) / shards, sizes.outer_bytes(config, 1) / shards
        return 2 * gradient + 3 * factors, self.statistics_bytes(config, shards, 1)[1]


def prune(
    model: Model,
    method: Taylor,
    statistics: TaylorStatistics,
    persona: int,
    stage: Stage = QUIET,
    first_price: float = price_search.FIRST_PRICE,
) -> Priced:
    """Finds the masks of one persona that meet the sparsity or damage budget of ``method``.

    Args:
      statistics: from ``taylor_statistics.collect``.
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      stage: progress counts prices.
      first_price: the price to try first.

    Raises:
      InputError: if too few weights have a positive gain to reach the sparsity, or none can be removed within the budget.
    """
    options = {"own_weight": method.own_weight}
    masks_at = functools.partial(taylor_masks.masks_at, model.params, statistics, persona, method.select, **options)
    if not method.measures_perplexity:
        return method.search_price(masks_at, lambda masks: math.nan, stage, first_price)
    tokens = method.budget_windows(model)
    check_perplexity(perplexity(model, model.params, tokens), method.budget_text)

    def damage(masks: Masks) -> float:
        masked, base = losses(model, apply_mask(model.params, masks), tokens), losses(model, model.params, tokens)
        return increase(masked, base, method.budget_reserve)

    return method.search_price(masks_at, damage, stage, first_price)
