"""Discovery: pairs -> tokens -> statistics -> masks. The library side of ``python -m jaxpersona.discover``."""

import dataclasses
import functools
from collections.abc import Iterable

import jax

from jaxpersona import first_order, pruning, statistics
from jaxpersona.data.packing import pack
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, tokenize_pair
from jaxpersona.errors import InputError
from jaxpersona.first_order import Evidence
from jaxpersona.masks import Masks
from jaxpersona.methods import AnyMethod, FirstOrder, Wanda
from jaxpersona.models.model import Model
from jaxpersona.progress import Report, silent
from jaxpersona.statistics import Statistics
from jaxpersona.timing import timed


@dataclasses.dataclass(frozen=True)
class Run:
    """What discovery found.

    Attributes:
      model: the model the masks are for.
      method: how weights were scored.
      masks: masks by persona name; the persona of the matching answers comes first.
      statistics: the activation statistics, or None where the method needs none.
      evidence: gradients and curvature, for the first-order method.
      pairs: the calibration pairs that were drawn.
      dropped: how many of them had no usable answer token and were left out.
      truncated: number of pairs with a text cut at ``max_length``.
      seed: of everything random.
      seconds: wall time by stage.
    """

    model: Model
    method: AnyMethod
    masks: dict[str, Masks]
    statistics: Statistics | None
    evidence: Evidence | None
    pairs: Pairs
    dropped: int
    truncated: int
    seed: int
    seconds: dict[str, float]

    def scores(self, persona: str) -> dict[str, jax.Array]:
        """The scores behind a persona's masks, float32 [layer, in, out] by kernel path; computed anew on each call."""
        index = list(self.masks).index(persona)
        if isinstance(self.method, FirstOrder):
            assert self.evidence is not None
            values = first_order.removal_values(self.model.params, self.evidence, index, self.method.select)
            return {path: -value for path, value in values.items()}
        return pruning.score(self.model.params, self.method, self.statistics, index, self.seed)


def discover(
    model: Model,
    pairs: Iterable[Pair],
    method: AnyMethod | None = None,
    *,
    personas: tuple[str, str] = ("seek", "reject"),
    num_samples: int = 128,
    text: TextMode = "chat",
    max_length: int = 512,
    neutral: str | None = None,
    seed: int = 42,
    report: Report = silent,
) -> Run:
    """Finds the masks of the two personas of contrastive pairs.

    Args:
      model: from ``load_model``.
      pairs: from ``load_pairs``, or any pairs.
      method: default ``Wanda()``.
      personas: names of the persona of the matching answers and of its opposite.
      num_samples: how many pairs to draw, with ``seed``; all if there are fewer.
      text: what the model reads (see ``data/text.py``).
      max_length: texts are cut at this many tokens.
      neutral: text on which a damage budget is measured; default ``builtin:neutral``.
      report: called with (stage, steps done, steps in all).

    Raises:
      InputError: when no pair is usable, ``max_length`` exceeds the model's positions, or a selector matches nothing.
    """
    if personas[0] == personas[1]:
        raise InputError(f"both personas are called {personas[0]!r}; give two different names")
    method = method or Wanda()
    pairs = pairs if isinstance(pairs, Pairs) else Pairs("python", tuple(pairs))
    pairs = pairs.sample(num_samples, seed)
    seconds = {}
    with timed(seconds, "tokenize"):
        tokenized, dropped = _usable(model, pairs, text, max_length)
    found = evidence = None
    if method.needs_calibration:
        with timed(seconds, "calibrate"):
            if isinstance(method, FirstOrder):
                evidence = first_order.collect_evidence(model, tokenized, report)
            else:
                batches = pack(tokenized, model.tokenizer.bos_token_id, row_multiple=len(jax.local_devices()))
                found = statistics.collect(model, batches, progress=functools.partial(report, "calibrate"))
    masks = {}
    with timed(seconds, "mask"):
        for index, persona in enumerate(personas):
            if isinstance(method, FirstOrder):
                assert evidence is not None
                mask = first_order.prune(model, method, evidence, index, neutral, functools.partial(report, f"budget, {persona}"))
            else:
                mask = pruning.prune(model.params, method, found, index, seed)
            masks[persona] = jax.block_until_ready(mask)
            report("mask", index + 1, len(personas))
    truncated = sum(pair.truncated for pair in tokenized)
    return Run(model, method, masks, found, evidence, pairs, dropped, truncated, seed, seconds)


def _usable(model: Model, pairs: Pairs, text: TextMode, max_length: int) -> tuple[list[TokenizedPair], int]:
    """The tokenized pairs of which both answers differ and neither was cut away, and how many were not."""
    if max_length > model.config.max_positions:
        raise InputError(f"data.max_length is {max_length}, the model has {model.config.max_positions} positions; lower it")
    tokenized = [tokenize_pair(model.tokenizer, pair, text, max_length) for pair in pairs]
    usable = [pair for pair in tokenized if pair.matching and pair.not_matching]
    if not usable:
        raise InputError(
            f"{pairs.source}: none of {len(tokenized)} pairs is usable; "
            f"their answers are equal, or cut off by data.max_length {max_length}"
        )
    return usable, len(tokenized) - len(usable)
