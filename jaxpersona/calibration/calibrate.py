"""Draws and tokenizes calibration pairs, and collects each statistic from them once, for all methods."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from jaxpersona.calibration import hessians, moments, residuals, taylor_statistics, text_moments
from jaxpersona.calibration.fisher import Gradient
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.calibration.hessians import Hessians
from jaxpersona.calibration.moments import Statistics
from jaxpersona.calibration.residuals import Residuals
from jaxpersona.calibration.taylor_statistics import TaylorStatistics
from jaxpersona.core.errors import InputError
from jaxpersona.core.finite import check_finite
from jaxpersona.core.mesh import row_multiple
from jaxpersona.core.protocol import STRICT, Protocol, resolve
from jaxpersona.core.ranges import check_at_least, check_seed
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.lines import Lines, tokenize_line
from jaxpersona.data.packing import Batch, choose_row_length, pack, shared_prefix_length
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, tokenize_pair
from jaxpersona.models.model import Model

_BATCH_TOKENS = 4096  # per device


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibration data of one model. A statistic is collected at its first use and cached.

    Attributes:
      model: the model that runs on the pairs.
      pairs: the drawn pairs.
      tokenized: the usable pairs among them, tokenized.
      seed: of the draw and of generated text.
      protocol: the experimental choices, such as which tokens the statistics count.
      generated: how much text the model generates for Taylor statistics.
      reuse_factors: whether Fisher factors from generated text are kept in the cache folder and taken from there.
      stage: progress and checkpoints of collection.
      shared: the last gradient that ``shared_gradient`` returned, by its weights.
    """

    model: Model
    pairs: Pairs
    tokenized: tuple[TokenizedPair, ...]
    seed: int
    protocol: Protocol = STRICT
    generated: TextAmount = dataclasses.field(default_factory=TextAmount)
    reuse_factors: bool = False
    stage: Stage = QUIET
    shared: dict[tuple[float, float], Gradient] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def dropped(self) -> int:
        """Number of pairs left out because an answer has no usable token."""
        return len(self.pairs) - len(self.tokenized)

    @property
    def truncated(self) -> int:
        """Number of pairs with a text cut at the maximum length."""
        return sum(pair.truncated for pair in self.tokenized)

    @property
    def texts_digest(self) -> str:
        """SHA-256 of the token ids of all texts, which also depend on tokenizer, chat template and its settings."""
        texts = [(pair.prefix, pair.matching, pair.not_matching) for pair in self.tokenized]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Moments of the activations."""
        stage = self.stage.part("moments")
        if self.protocol.statistics == "lines":
            found = text_moments.collect(self.model, self.batches(), self.protocol.prune_head, stage)
        else:
            found = moments.collect(self.model, self.batches(), stage)
        check_finite(found.moments, "moments of activations")
        return found

    @functools.cached_property
    def hessians(self) -> Hessians:
        """Full second moments of the activations."""
        found = hessians.collect(self.model, self.batches(shared_prefix=False), self.stage.part("hessians"))
        check_finite(found, "second moments of activations")
        return found

    @functools.cached_property
    def taylor(self) -> TaylorStatistics:
        """Gradients and curvature, for contrastive Taylor pruning; raises InputError for single texts."""
        self.refuse_lines()
        texts = self.seed, self.stage, self.generated, self.reuse_factors
        found = taylor_statistics.collect(self.model, self.tokenized, *texts)
        check_finite({**vars(found.factors), "margin": found.margin}, "gradients and second moments")
        return found

    def shared_gradient(self, own_weight: float, misplaced_weight: float) -> Gradient:
        """Returns the gradient of what both personas gain alike, for contrastive Taylor pruning (``collect_shared``)."""
        self.refuse_lines()
        weights = own_weight, misplaced_weight
        if weights not in self.shared:
            self.shared.clear()  # one is as large as half the model
            found = taylor_statistics.collect_shared(self.model, self.tokenized, *weights, self.stage.part("answers"))
            check_finite(found, "gradients")
            self.shared[weights] = found
        return self.shared[weights]

    @functools.cached_property
    def residuals(self) -> Residuals:
        """Means of the residual stream over each persona's answers, for steering; raises InputError for single texts."""
        self.refuse_lines()
        found = residuals.collect(self.model, self.tokenized, self.stage.part("residuals"))
        check_finite(vars(found), "means of the residual stream")
        return found

    def collect(self, needs: Iterable[str]) -> None:
        """Collects the named statistics now rather than at their first use."""
        for need in needs:
            getattr(self, need)

    def keep(self, need: str, collected: Any) -> None:
        """Stores a statistic that was collected elsewhere, by a streamed pass."""
        vars(self)[need] = collected

    def refuse_lines(self) -> None:
        """Checks that the data are pairs.

        Raises:
          InputError: if they are single texts.
        """
        if isinstance(self.pairs, Lines):
            raise InputError(f"{self.pairs.source} holds single texts; this method compares the two answers of pairs")

    def batches(self, shared_prefix: bool = True) -> list[Batch]:
        """Packs the texts into batches of one shape.

        Args:
          shared_prefix: packs the common prefix of all texts once per row, if the protocol allows it.
        """
        return self.packed(row_multiple(self.model.mesh), shared_prefix)

    def packed(self, devices: int, shared_prefix: bool = True) -> list[Batch]:
        """Packs the texts into batches of a multiple of ``devices`` rows; ``shared_prefix`` as in ``batches``."""
        bos_id = None if self.protocol.count_bos else self.model.tokenizer.bos_token_id
        shared = shared_prefix_length(self.tokenized) if shared_prefix and self.protocol.statistics == "tokens" else 0
        length = choose_row_length(self.tokenized, shared)
        return pack(self.tokenized, bos_id, length, _BATCH_TOKENS * devices, row_multiple=devices, shared_prefix=shared)


def calibrate(
    model: Model,
    pairs: Iterable[Pair],
    *,
    num_samples: int = 128,
    text: TextMode = "chat",
    max_length: int = 512,
    seed: int = 42,
    protocol: str | Protocol = STRICT,
    generated: TextAmount | None = None,
    reuse_factors: bool = False,
    stage: Stage = QUIET,
) -> Calibration:
    """Draws pairs and tokenizes them.

    Args:
      model: from ``load_model``.
      pairs: from ``load_pairs``, or any pairs.
      num_samples: number of pairs to draw; all if there are fewer, or if the protocol does not sample.
      text: which parts of a pair the model sees (``data/text.py``); ``lines:`` data are used unchanged.
      max_length: maximum tokens per text; longer texts are cut.
      seed: of the draw and of generated text.
      protocol: strict, paper or official (``core/protocol.py``).
      generated: how much text the model generates for Taylor statistics; None selects 48 texts of 128 tokens.
      reuse_factors: whether Fisher factors from generated text are kept in the cache folder and taken from there.
      stage: progress and checkpoints of later collection.

    Raises:
      InputError: if no pair is usable, ``max_length`` exceeds the model's positions, or a number is out of range.
    """
    check_at_least(1, num_samples, "data.num_samples")
    check_at_least(2, max_length, "data.max_length")
    check_seed(seed)
    if max_length > model.config.max_positions:
        raise InputError(f"data.max_length is {max_length}, the model has {model.config.max_positions} positions; lower it")
    pairs = pairs if isinstance(pairs, Pairs) else Pairs("python", tuple(pairs))
    protocol, generated = resolve(protocol), generated or TextAmount()
    pairs = pairs.sample(num_samples, seed) if protocol.sample else pairs
    stage = stage.part("calibrate")
    if isinstance(pairs, Lines):
        tokenized = [tokenize_line(model.tokenizer, line, max_length) for line in pairs]
        return Calibration(model, pairs, tuple(tokenized), seed, protocol, generated, reuse_factors, stage)
    tokenized = [tokenize_pair(model.tokenizer, pair, text, max_length) for pair in pairs]
    usable = tuple(pair for pair in tokenized if pair.matching and pair.not_matching)
    if not usable:
        raise InputError(
            f"{pairs.source}: none of {len(tokenized)} pairs is usable; "
            f"their answers are equal, or cut off by data.max_length {max_length}"
        )
    return Calibration(model, pairs, usable, seed, protocol, generated, reuse_factors, stage)
