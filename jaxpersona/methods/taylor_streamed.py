"""Contrastive Taylor pruning of a streamed model; each price takes one pass over the weights.

At each layer, the pass selects the layer's weights. If there is a damage budget, it also runs the budget text through the masked
layer.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import jax
import numpy as np

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.taylor_statistics import TaylorStatistics
from jaxpersona.calibration.taylor_statistics_streamed import collect
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import Stage
from jaxpersona.core.tree import Params
from jaxpersona.masks.mask_writer import MaskWriter
from jaxpersona.masks.masks import Masks
from jaxpersona.methods.method import Search
from jaxpersona.methods.price_search import FIRST_PRICE, Damage, MasksAtPrice, Priced
from jaxpersona.methods.taylor_masks import eligible_layers, words_at
from jaxpersona.models.layer_loop import State, run_layers
from jaxpersona.models.perplexity import check_perplexity, exp
from jaxpersona.models.perplexity_streamed import Windows, losses
from jaxpersona.models.sites import kernels
from jaxpersona.models.streamed_forward import States
from jaxpersona.models.streamed_model import StreamedModel

Tree = TypeVar("Tree")
SearchPrice = Callable[[MasksAtPrice, Damage, Stage, float], Priced]
"""Called with (masks at a price, damage, stage, first price)."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a mask may remove.

    Attributes:
      tokens: int32 [n, length], windows that damage is measured on; None without a damage budget.
      damage: called with the losses under masks and those of the base model.
      search_price: finds the masks that meet the budget.
    """

    tokens: np.ndarray | None
    damage: Callable[[np.ndarray, np.ndarray], float]
    search_price: SearchPrice


def prune(
    model: StreamedModel, calibration: Calibration, select: str, weights: tuple[float, float], budget: Budget, search: Search
) -> Iterator[Masks]:
    """Yields the masks of both personas that ``taylor.prune`` finds from the same calibration data.

    Args:
      select: selector of the modules and layers that may be masked.
      weights: ``own_weight`` and ``misplaced_weight`` of the method.
      budget: of damage, or a share of the weights.
      search: names of the two personas, progress and checkpoints.

    Raises:
      InputError: if the data are single texts or a selector matches nothing, and as ``taylor.prune``.
      WriteError: if the disk has no room for temporary files.
    """
    calibration.refuse_lines()
    stage = search.stage
    eligible, arrays = eligible_layers(model.params, select), MappedArrays(stage, model.scratch)
    statistics = collect(model, calibration, arrays, weights, stage.part("calibrate"))
    text, begin, base = None, {}, np.zeros(0)
    if (tokens := budget.tokens) is not None:
        text = Windows(model.batch_decoder(), tokens)
        begin = text.start(model)
        base = losses(model, {"none": None}, tokens, stage.part("perplexity of the budget text"))["none"]
        check_perplexity(exp(float(base.mean())), "the budget text")

    price = FIRST_PRICE
    for index, name in enumerate(search.personas):
        one_price = stage.part(f"one price, {name}").without_progress()
        choice = _Choice(model, statistics, eligible, index, weights[0], text, begin, arrays, one_price)
        damage = functools.partial(choice.damage, budget.damage, base)
        found = budget.search_price(choice.masks_at, damage, stage.part(f"search, {name}"), price)
        search.reached[name], price = found.reached, found.reached.price
        yield found.masks


@dataclasses.dataclass
class _Choice:
    """Selects one persona's weights at a sequence of prices.

    Attributes:
      text: the budget text; None if damage is not measured.
      begin: the text's hidden states before the first layer.
      stage: of one price.
      losses: of the text under the latest masks.
    """

    model: StreamedModel
    statistics: TaylorStatistics
    eligible: Mapping[str, np.ndarray]
    persona: int
    own_weight: float
    text: Windows | None
    begin: States
    arrays: MappedArrays
    stage: Stage
    losses: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    def masks_at(self, price: float) -> Masks:
        """Returns the same as ``taylor_masks.masks_at``, and measures ``losses`` under these masks."""
        writer = MaskWriter(kernels(self.model.params), self.arrays.array, 1, f"words {self.persona}")

        def step(number: int, params: Params, state: State) -> None:
            which = slice(number, number + 1)
            parts = (_cut(part, which) for part in vars(self.statistics).values())
            chosen = words_at(params, TaylorStatistics(*parts), _cut(self.eligible, which), self.persona, price, self.own_weight)
            for path, packed in chosen.items():
                writer.put(path, number, packed, 0)
            if self.text is not None:
                self.text.layer(number, params, state["states"], Masks.of(params, chosen))

        state = run_layers(self.model, lambda: {"states": dict(self.begin)}, step, writer.parts, self.stage, key=price)
        if self.text is not None:
            self.losses = self.text.losses(self.model.head(), state["states"])
        (masks,) = writer.masks(self.model.params)
        return jax.tree.map(self._copy, masks)  # a copy, because the next price overwrites these files

    def damage(self, measure: Callable[[np.ndarray, np.ndarray], float], base: np.ndarray, _: Masks) -> float:
        """Returns the damage of the latest masks, given the base model's losses."""
        return measure(self.losses, base)

    def _copy(self, words: np.ndarray) -> np.ndarray:
        copied = self.arrays.temporary(words.shape, words.dtype)
        copied[...] = words
        return copied


def _cut(tree: Tree, which: slice) -> Tree:
    return jax.tree.map(lambda leaf: leaf[which], tree)
