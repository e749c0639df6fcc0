"""Contrastive Taylor pruning of a streamed model: every price that is tried takes one pass over the weights.

A layer's weights are chosen and, where there is a damage budget, the text it is measured on goes on through what remains of the
layer; then comes the next layer.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import TypeVar

import jax
import numpy as np

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.taylor_statistics_streamed import collect_evidence
from jaxpersona.core.checkpoints import Checkpoint, Checkpoints
from jaxpersona.core.memmap import Scratch
from jaxpersona.core.progress import Report
from jaxpersona.masks.mask_writer import Words
from jaxpersona.masks.masks import Masks
from jaxpersona.methods import taylor
from jaxpersona.methods.methods import FirstOrder
from jaxpersona.methods.taylor import Evidence
from jaxpersona.models.layer_loop import State, walk
from jaxpersona.models.perplexity_streamed import Windows, perplexities
from jaxpersona.models.sites import kernels
from jaxpersona.models.streamed_forward import States
from jaxpersona.models.streamed_model import StreamedModel
from jaxpersona.models.weights import Params

Tree = TypeVar("Tree")
Eligible = Mapping[str, np.ndarray]


def prune(
    model: StreamedModel, method: FirstOrder, calibration: Calibration, report: Report, checkpoints: Checkpoints
) -> tuple[Masks, Masks]:
    """The masks of both personas, as ``first_order.prune`` finds them from the same calibration.

    Args:
      checkpoints: keep how far each stage is, by layer, token and price.

    Raises:
      InputError: for single texts, selectors that match nothing, no room for temporary files, and as ``first_order.prune``.
    """
    calibration.refuse_lines()
    eligible = taylor.eligible_layers(model.params, method.select)
    scratch = Scratch(model, checkpoints)
    evidence = collect_evidence(model, calibration, scratch, report, checkpoints)
    text, begin, base = None, {}, math.nan
    if method.max_perplexity_increase is not None:
        tokens = taylor.budget_windows(model, method)
        text = Windows(model.batch_decoder(), tokens)
        begin = text.start(model)
        base = perplexities(model, {"none": None}, tokens, checkpoint=checkpoints["budget base"])["none"]

    def of_persona(persona: int, name: str) -> Masks:
        choice = _Choice(model, evidence, eligible, persona, text, begin, scratch, checkpoints[f"price {name}"])
        search = functools.partial(report, f"budget, {name}"), checkpoints[f"budget {name}"]
        if text is None:
            return taylor.prune_share(method, choice.at_price, *search)
        return taylor.prune_within_budget(method, choice.at_price, lambda _: math.log(choice.perplexity / base), *search)

    return of_persona(0, "first persona"), of_persona(1, "second persona")


@dataclasses.dataclass
class _Choice:
    """Which weights a persona does without, at one price after another.

    Attributes:
      text: what damage is measured on; None where it is not.
      begin: the text before the first layer.
      checkpoint: keeps how far the choice at a price is.
      perplexity: of the text under the masks chosen last.
    """

    model: StreamedModel
    evidence: Evidence
    eligible: Eligible
    persona: int
    text: Windows | None
    begin: States
    scratch: Scratch
    checkpoint: Checkpoint
    perplexity: float = math.nan

    def at_price(self, price: float) -> Masks:
        """The masks at a price, as ``first_order.remove_at_price`` finds them."""
        words = Words(kernels(self.model.params), self.scratch.array, 1, f"words {self.persona}")

        def step(number: int, params: Params, state: State) -> None:
            which = slice(number, number + 1)
            own = Evidence(_cut(self.evidence.margin, which), _cut(self.evidence.factors, which))
            chosen = taylor.words_at_price(params, own, _cut(self.eligible, which), self.persona, price)
            for path, packed in chosen.items():
                words.put(path, number, packed, 0)
            if self.text is not None:
                self.text.layer(number, params, state["states"], Masks.of(params, chosen))

        def start() -> State:
            return {"states": dict(self.begin)}

        state = walk(self.model, start, step, words.parts, self.checkpoint, about=price)
        if self.text is not None:
            self.perplexity = self.text.perplexity(self.model.head(), state["states"])
        (masks,) = words.masks(self.model.params)
        return jax.tree.map(self._copy, masks)  # the next price is tried in the same files

    def _copy(self, words: np.ndarray) -> np.ndarray:
        copied = self.scratch.temporary(words.shape, words.dtype)
        copied[...] = words
        return copied


def _cut(tree: Tree, which: slice) -> Tree:
    return jax.tree.map(lambda leaf: leaf[which], tree)
