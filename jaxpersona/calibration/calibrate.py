"""Calibration: the drawn pairs as tokens, and what is collected from them, once, for all methods that ask for it."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from jaxpersona.calibration import hessians, moments, text_moments
from jaxpersona.calibration.hessians import Hessians
from jaxpersona.calibration.moments import Statistics
from jaxpersona.core.checkpoints import NOWHERE, Checkpoints
from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import row_multiple
from jaxpersona.core.progress import Progress, Report, silent
from jaxpersona.core.protocol import STRICT, Protocol, resolve
from jaxpersona.data.lines import Lines, tokenize_line
from jaxpersona.data.packing import Batch, cheapest_row_length, common_opening, pack
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, tokenize_pair
from jaxpersona.methods import steering, taylor
from jaxpersona.methods.methods import Need
from jaxpersona.methods.steering import Residuals
from jaxpersona.methods.taylor import Evidence
from jaxpersona.models.model import Model

_BATCH_TOKENS = 4096  # a device


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibration data of one model. What methods need of it is collected when first asked for, and kept.

    Attributes:
      model: the model that reads the pairs.
      pairs: the pairs that were drawn.
      tokenized: those of them that can be used, as tokens.
      seed: of the draw.
      protocol: what counts in the statistics.
      report: called with (stage, steps done, steps in all) while something is collected.
      checkpoints: keep what is collected, while it is.
    """

    model: Model
    pairs: Pairs
    tokenized: tuple[TokenizedPair, ...]
    seed: int
    protocol: Protocol = STRICT
    report: Report = silent
    checkpoints: Checkpoints = NOWHERE

    @property
    def dropped(self) -> int:
        """How many of the pairs had no usable answer token and were left out."""
        return len(self.pairs) - len(self.tokenized)

    @property
    def truncated(self) -> int:
        """Number of pairs with a text cut at the greatest length."""
        return sum(pair.truncated for pair in self.tokenized)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Moments of the activations."""
        if self.protocol.statistics == "lines":
            head = self.protocol.prune_head
            return text_moments.collect(self.model, self.batches(), head, self._progress(), self.checkpoints["statistics"])
        return moments.collect(self.model, self.batches(), progress=self._progress(), checkpoint=self.checkpoints["statistics"])

    @functools.cached_property
    def hessians(self) -> Hessians:
        """Full second moments of the activations."""
        return hessians.collect(self.model, self.batches(opened=False), self._progress(), self.checkpoints["hessians"])

    @functools.cached_property
    def evidence(self) -> Evidence:
        """Gradients and curvature, for the first-order method; single texts are refused."""
        self.refuse_lines()
        return taylor.collect_evidence(self.model, self.tokenized, self.seed, self.report, self.checkpoints)

    @functools.cached_property
    def residuals(self) -> Residuals:
        """The residual stream over each persona's answers, for steering; single texts are refused."""
        self.refuse_lines()
        return steering.collect_residuals(self.model, self.tokenized, self._progress(), self.checkpoints["residuals"])

    def collect(self, needs: Iterable[Need]) -> None:
        """Collects what a method ``needs`` now rather than when it is first used."""
        for need in needs:
            getattr(self, need)

    def keep(self, need: Need, collected: Any) -> None:
        """Takes what was collected elsewhere (``streaming``) for what a method ``need``s."""
        vars(self)[need] = collected

    def refuse_lines(self) -> None:
        """Raises an ``InputError`` where there are single texts instead of pairs."""
        if isinstance(self.pairs, Lines):
            raise InputError(f"{self.pairs.source} holds single texts; this method compares the two answers of pairs")

    def batches(self, opened: bool = True) -> list[Batch]:
        """The texts in batches of one shape, as statistics read them, and Hessians where they are not ``opened``."""
        return self.packed(row_multiple(self.model.mesh), opened)

    def packed(self, share: int, opened: bool = True) -> list[Batch]:
        """The texts as batches whose rows so many devices share, with one opening a row if they are to be ``opened`` and may."""
        bos_id = None if self.protocol.count_bos else self.model.tokenizer.bos_token_id
        opening = common_opening(self.tokenized) if opened and self.protocol.statistics == "tokens" else 0
        length = cheapest_row_length(self.tokenized, opening)
        return pack(self.tokenized, bos_id, length, _BATCH_TOKENS * share, row_multiple=share, opening=opening)

    def _progress(self) -> Progress:
        return functools.partial(self.report, "calibrate")


def calibrate(
    model: Model,
    pairs: Iterable[Pair],
    *,
    num_samples: int = 128,
    text: TextMode = "chat",
    max_length: int = 512,
    seed: int = 42,
    protocol: str | Protocol = STRICT,
    report: Report = silent,
    checkpoints: Checkpoints = NOWHERE,
) -> Calibration:
    """Draws pairs and tokenizes them.

    Args:
      model: from ``load_model``.
      pairs: from ``load_pairs``, or any pairs.
      num_samples: how many pairs to draw, with ``seed``; all if there are fewer, or if the protocol does not sample.
      text: what the model reads (see ``data/text.py``); ``lines:`` data are read as they are.
      max_length: texts are cut at this many tokens.
      protocol: strict, paper or official (see ``protocol.py``).
      report: called with (stage, steps done, steps in all) when something is collected.
      checkpoints: keep what is collected, so that a computation that was killed goes on.

    Raises:
      InputError: when no pair is usable, or ``max_length`` exceeds the model's positions.
    """
    if max_length > model.config.max_positions:
        raise InputError(f"data.max_length is {max_length}, the model has {model.config.max_positions} positions; lower it")
    pairs = pairs if isinstance(pairs, Pairs) else Pairs("python", tuple(pairs))
    protocol = resolve(protocol)
    pairs = pairs.sample(num_samples, seed) if protocol.sample else pairs
    if isinstance(pairs, Lines):
        tokenized = [tokenize_line(model.tokenizer, line, max_length) for line in pairs]
        return Calibration(model, pairs, tuple(tokenized), seed, protocol, report, checkpoints)
    tokenized = [tokenize_pair(model.tokenizer, pair, text, max_length) for pair in pairs]
    usable = tuple(pair for pair in tokenized if pair.matching and pair.not_matching)
    if not usable:
        raise InputError(
            f"{pairs.source}: none of {len(tokenized)} pairs is usable; "
            f"their answers are equal, or cut off by data.max_length {max_length}"
        )
    return Calibration(model, pairs, usable, seed, protocol, report, checkpoints)
