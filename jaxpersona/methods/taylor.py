"""Contrastive Taylor pruning: preference-margin Taylor saliency under a K-FAC damage constraint.

Setting a weight w to zero changes a function f of the parameters by -w df/dw, to first order (Taylor pruning; Molchanov et al.,
2019). Let f be the margin of a persona, the log-probability of its answers minus that of the opposite ones, per answer token.
Then removing the set of weights Z from the kernels W

    gains    sum_ij Z_ij gain_ij,  gain_ij = -w_ij df/dw_ij                 in margin, to first order
    damages  1/2 sum_j d_j (D' A D)_jj,  D = W * Z                          in loss, to second order

with the Kronecker factors A, d of the Fisher information (``calibration/fisher.py``). Weights are chosen at a price of damage by
coordinate ascent (``masks/coordinate_ascent.py``), and the price that meets the budget is searched (``price_search.py``). The
opposite persona has the gains -gain. No weight is updated.
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
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.neutral_text import BUILTIN_TEXT, read_text
from jaxpersona.masks.masks import Masks, apply_mask
from jaxpersona.methods import price_search, taylor_masks, taylor_streamed
from jaxpersona.methods.method import Method, Need, Search
from jaxpersona.models import sizes
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import perplexity, windows
from jaxpersona.models.selector import Selector, check_sparsity
from jaxpersona.models.streamed_model import StreamedModel

_BUDGET_TOKENS = 2048


@dataclasses.dataclass(frozen=True)
class Taylor(Method):
    """Removes the weights whose removal turns the model to a persona for the least damage.

    Attributes:
      sparsity: share of all maskable weights that is removed, over all layers together, in [0, 1).
      max_perplexity_increase: instead of a share, the damage budget: the strongest mask under which perplexity on ``budget_text``
        rises by no more than this (0.02: 2 %). Where neither is given, 0.02.
      budget_text: ``builtin:neutral``, or a UTF-8 text file.
      select: modules and layers that are masked (``models/selector.py``).
    """

    sparsity: float | None = None
    max_perplexity_increase: float | None = None
    budget_text: str = BUILTIN_TEXT
    select: str = "all"
    name: ClassVar[str] = "taylor"
    needs: ClassVar[tuple[Need, ...]] = ("taylor",)
    takes_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Selector(self.select)
        read_text(self.budget_text)  # refuses now, rather than after minutes of calibration
        if self.sparsity is not None and self.max_perplexity_increase is not None:
            raise InputError("method taylor takes sparsity or max_perplexity_increase, not both")
        if self.sparsity is not None:
            check_sparsity(self.sparsity, "sparsity")
        elif self.max_perplexity_increase is None:
            object.__setattr__(self, "max_perplexity_increase", 0.02)
        elif not self.max_perplexity_increase > 0:
            raise InputError(f"max_perplexity_increase is {self.max_perplexity_increase}; it must be above 0, e.g. 0.02 for 2 %")

    @property
    def measures_perplexity(self) -> bool:
        """Whether there is a damage budget."""
        return self.max_perplexity_increase is not None

    def texts(self) -> dict[str, str]:
        """Returns the contents of the budget text."""
        return {"method.budget_text": read_text(self.budget_text)}

    def find(self, model: Model, calibration: Calibration, search: Search) -> Iterator[Masks]:
        """Yields the masks of both personas from a model in memory."""
        for index, persona in enumerate(search.personas):
            yield prune(model, self, calibration.taylor, index, search.stage.part(f"search, {persona}"))

    def find_streamed(self, model: StreamedModel, calibration: Calibration, search: Search) -> Iterator[Masks]:
        """Yields the masks of both personas; every price that is tried takes one pass over the weights."""
        tokens = self.budget_windows(model) if self.measures_perplexity else None
        options = self.search_price, search.personas, search.stage
        yield from taylor_streamed.prune(model, calibration, self.select, tokens, *options)

    def budget_windows(self, model: Model) -> np.ndarray:
        """Returns the tokens that damage is measured on, int32 [n, length]."""
        return windows(model, read_text(self.budget_text), _BUDGET_TOKENS)

    def search_price(self, masks_at: price_search.MasksAtPrice, damage: price_search.Damage, stage: Stage) -> Masks:
        """Returns the masks at the price that meets the budget; ``damage`` is asked only where there is a damage budget."""
        if self.sparsity is not None:
            return price_search.of_share(masks_at, self.sparsity, stage)
        assert self.max_perplexity_increase is not None
        return price_search.within_budget(masks_at, damage, self.max_perplexity_increase, stage)

    def scores(self, model: Model, calibration: Calibration, persona: int, seed: int) -> dict[str, jax.Array]:
        """Returns minus gain over damage of each weight's removal alone, float32 [layer, in, out] by kernel path."""
        return taylor_masks.scores(model.params, calibration.taylor, persona)

    def statistics_bytes(self, config: ModelConfig, shards: float, in_place: bool) -> tuple[float, float]:
        """A gradient and factors; two or three copies while a batch is added."""
        gradient, factors = 4 * sizes.maskable(config) / shards, sizes.outer_bytes(config, 1) / shards
        return max((3 - in_place) * (gradient + factors), gradient + 3 * factors), gradient + factors


def prune(model: Model, method: Taylor, statistics: TaylorStatistics, persona: int, stage: Stage = QUIET) -> Masks:
    """Finds the masks of one persona, of the share or within the damage budget that ``method`` says.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      stage: progress counts prices.

    Raises:
      InputError: when fewer weights than the share have a gain at all.
    """
    masks_at = functools.partial(taylor_masks.masks_at, model.params, statistics, persona, method.select)
    if not method.measures_perplexity:
        return method.search_price(masks_at, lambda masks: math.nan, stage)
    tokens = method.budget_windows(model)
    base = perplexity(model, model.params, tokens)

    def damage(masks: Masks) -> float:
        return math.log(perplexity(model, apply_mask(model.params, masks), tokens) / base)

    return method.search_price(masks_at, damage, stage)
