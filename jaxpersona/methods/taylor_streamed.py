"""Contrastive Taylor pruning of a streamed model: every price that is tried takes one pass over the weights.

A layer's weights are chosen and, where there is a damage budget, the budget text runs through what remains of the layer; then
comes the next layer.
"""

import dataclasses
import math
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
from jaxpersona.methods.price_search import Damage, MasksAtPrice
from jaxpersona.methods.taylor_masks import eligible_layers, words_at
from jaxpersona.models.layer_loop import State, run_layers
from jaxpersona.models.perplexity_streamed import Windows, perplexities
from jaxpersona.models.sites import kernels
from jaxpersona.models.streamed_forward import States
from jaxpersona.models.streamed_model import StreamedModel

Tree = TypeVar("Tree")
SearchPrice = Callable[[MasksAtPrice, Damage, Stage], Masks]


def prune(
    model: StreamedModel,
    calibration: Calibration,
    select: str,
    tokens: np.ndarray | None,
    search_price: SearchPrice,
    personas: tuple[str, str],
    stage: Stage,
) -> Iterator[Masks]:
    """Yields the masks of both personas, as ``taylor.prune`` finds them from the same calibration data.

    Args:
      select: selector of the modules and layers that may be masked.
      tokens: windows that damage is measured on, int32 [n, length]; None where there is no damage budget.
      search_price: finds the masks that meet the budget.
      personas: names of the two personas.

    Raises:
      InputError: for single texts, selectors that match nothing, and as ``taylor.prune``.
      WriteError: when there is no room for temporary files.
    """
    calibration.refuse_lines()
    eligible, arrays = eligible_layers(model.params, select), MappedArrays(stage, model.scratch)
    statistics = collect(model, calibration, arrays, stage.part("calibrate"))
    text, begin, base = None, {}, math.nan
    if tokens is not None:
        text = Windows(model.batch_decoder(), tokens)
        begin = text.start(model)
        base = perplexities(model, {"none": None}, tokens, stage.part("perplexity of the budget text"))["none"]

    for index, name in enumerate(personas):
        one_price = stage.part(f"one price, {name}").without_progress()
        choice = _Choice(model, statistics, eligible, index, text, begin, arrays, one_price)
        yield search_price(choice.masks_at, choice.damage_from(base), stage.part(f"search, {name}"))


@dataclasses.dataclass
class _Choice:
    """The weights that a persona loses, at one price after another.

    Attributes:
      text: what damage is measured on; None where it is not.
      begin: the text before the first layer.
      stage: of one price.
      perplexity: of the text under the masks chosen last.
    """

    model: StreamedModel
    statistics: TaylorStatistics
    eligible: Mapping[str, np.ndarray]
    persona: int
    text: Windows | None
    begin: States
    arrays: MappedArrays
    stage: Stage
    perplexity: float = math.nan

    def masks_at(self, price: float) -> Masks:
        """Returns the masks at a price, as ``taylor_masks.masks_at`` does."""
        writer = MaskWriter(kernels(self.model.params), self.arrays.array, 1, f"words {self.persona}")

        def step(number: int, params: Params, state: State) -> None:
            which = slice(number, number + 1)
            own = TaylorStatistics(_cut(self.statistics.margin, which), _cut(self.statistics.factors, which))
            chosen = words_at(params, own, _cut(self.eligible, which), self.persona, price)
            for path, packed in chosen.items():
                writer.put(path, number, packed, 0)
            if self.text is not None:
                self.text.layer(number, params, state["states"], Masks.of(params, chosen))

        state = run_layers(self.model, lambda: {"states": dict(self.begin)}, step, writer.parts, self.stage, key=price)
        if self.text is not None:
            self.perplexity = self.text.perplexity(self.model.head(), state["states"])
        (masks,) = writer.masks(self.model.params)
        return jax.tree.map(self._copy, masks)  # the next price is tried in the same files

    def damage_from(self, base: float) -> Damage:
        """Returns what measures the damage of the masks chosen last, given the base model's perplexity."""
        return lambda _: math.log(self.perplexity / base)

    def _copy(self, words: np.ndarray) -> np.ndarray:
        copied = self.arrays.temporary(words.shape, words.dtype)
        copied[...] = words
        return copied


def _cut(tree: Tree, which: slice) -> Tree:
    return jax.tree.map(lambda leaf: leaf[which], tree)
