"""Discovery: pairs -> calibration -> masks. The library side of ``python -m jaxpersona.discover``."""

import dataclasses
import functools
from collections.abc import Iterable

import jax

from jaxpersona.calibration.calibrate import Calibration, calibrate
from jaxpersona.calibration.moments import Statistics
from jaxpersona.core.background import meanwhile
from jaxpersona.core.checkpoints import NOWHERE, Checkpoints
from jaxpersona.core.errors import InputError
from jaxpersona.core.progress import Report, silent
from jaxpersona.core.protocol import STRICT, Protocol, resolve
from jaxpersona.core.timing import timed
from jaxpersona.data.pairs import Pair
from jaxpersona.data.text import TextMode
from jaxpersona.discovery import streamed as streaming
from jaxpersona.masks.masks import Persona
from jaxpersona.methods import rowwise, sparsegpt, steering, taylor
from jaxpersona.methods.methods import AnyMethod, FirstOrder, Method, SparseGPT, Steering, Wanda
from jaxpersona.models.model import Model
from jaxpersona.models.streamed_model import StreamedModel


@dataclasses.dataclass(frozen=True)
class Run:
    """What discovery found.

    Attributes:
      model: the model the masks are for.
      method: how weights were scored.
      masks: masks, or steering vectors, by persona name; the persona of the matching answers comes first.
      calibration: the pairs that were drawn, and what was collected from them.
      seed: of everything random.
      seconds: wall time by stage.
    """

    model: Model
    method: AnyMethod
    masks: dict[str, Persona]
    calibration: Calibration
    seed: int
    seconds: dict[str, float]

    @property
    def statistics(self) -> Statistics | None:
        """The activation statistics, or None where the method needs none."""
        return self.calibration.statistics if "statistics" in self.method.needs else None

    def scores(self, persona: str) -> dict[str, jax.Array]:
        """The scores behind a persona's masks, float32 [layer, in, out] by kernel path; computed anew on each call.

        Raises:
          InputError: when the method is steering, which scores no weights, or the model was streamed.
        """
        index = list(self.masks).index(persona)
        if isinstance(self.model, StreamedModel):
            raise InputError("scores are as large as the model, and it was streamed; load it whole to get them")
        if isinstance(self.method, Steering):
            raise InputError("method steering has no scores: it adds a vector and removes no weight")
        if isinstance(self.method, FirstOrder):
            return taylor.scores(self.model.params, self.calibration.evidence, index)
        if isinstance(self.method, SparseGPT):
            return sparsegpt.score(self.model.params, self.method, self.calibration.hessians, index)
        return rowwise.score(self.model.params, self.method, self.statistics, index, self.seed, self.calibration.protocol)


def discover(
    model: Model,
    pairs: Iterable[Pair],
    method: AnyMethod | None = None,
    *,
    personas: tuple[str, str] = ("seek", "reject"),
    num_samples: int = 128,
    text: TextMode = "chat",
    max_length: int = 512,
    seed: int = 42,
    protocol: str | Protocol = STRICT,
    report: Report = silent,
    checkpoints: Checkpoints = NOWHERE,
) -> Run:
    """Finds the masks of the two personas of contrastive pairs: ``calibrate`` and ``find_masks`` in one.

    Args:
      model: from ``load_model``, or ``load_streamed`` if it does not fit into memory.
      pairs: from ``load_pairs``, or any pairs.
      method: default ``Wanda()``.
      personas: names of the persona of the matching answers and of its opposite.
      num_samples: how many pairs to draw, with ``seed``; all if there are fewer, or if the protocol does not sample.
      text: what the model reads (see ``data/text.py``); ``lines:`` data are read as they are.
      max_length: texts are cut at this many tokens.
      protocol: strict, paper or official (see ``protocol.py``).
      report: called with (stage, steps done, steps in all).
      checkpoints: keep what is done, so that a run that was killed goes on (``resume.CheckpointFolder``).

    Raises:
      InputError: when no pair is usable, ``max_length`` exceeds the model's positions, a selector matches nothing, or a setting
        contradicts the protocol.
    """
    method, protocol, seconds = method or Wanda(), resolve(protocol), {}
    _check(personas, method, protocol)
    drawing = {"num_samples": num_samples, "text": text, "max_length": max_length, "seed": seed, "protocol": protocol}
    with timed(seconds, "tokenize"):
        calibration = calibrate(model, pairs, **drawing, report=report, checkpoints=checkpoints)
    if method.needs and not isinstance(model, StreamedModel):  # which collects at each layer what its masks need
        with timed(seconds, "calibrate"), meanwhile(functools.partial(_compile_ahead, model, method, seed, protocol)):
            calibration.collect(method.needs)
    with timed(seconds, "mask"):
        masks = find_masks(model, method, calibration, personas=personas, seed=seed, report=report, checkpoints=checkpoints)
    return Run(model, method, masks, calibration, seed, seconds)


def _compile_ahead(model: Model, method: AnyMethod, seed: int, protocol: Protocol) -> None:
    """Compiles the programs of the stage after calibration, where it is known what they will read."""
    if "statistics" in method.needs and model.mesh is None and protocol.statistics == "tokens":
        assert isinstance(method, Method)
        rowwise.compile_ahead(model.params, method, seed, protocol)


def find_masks(
    model: Model,
    method: AnyMethod,
    calibration: Calibration,
    *,
    personas: tuple[str, str] = ("seek", "reject"),
    seed: int = 42,
    report: Report = silent,
    checkpoints: Checkpoints = NOWHERE,
) -> dict[str, Persona]:
    """The masks, or steering vectors, of both personas by name, from calibration data that any number of methods may share.

    Args:
      calibration: from ``calibrate``, of the same model.
      seed: of methods that draw.
      report: called with (stage, steps done, steps in all).
      checkpoints: keep what is done of these masks.

    Raises:
      InputError: when the personas have one name, a selector matches nothing, or a setting contradicts the protocol.
    """
    protocol = calibration.protocol
    _check(personas, method, protocol)
    if isinstance(model, StreamedModel):
        both = streaming.find_masks(model, method, calibration, seed, report, checkpoints)
        return dict(zip(personas, both, strict=True))
    calibration.collect(method.needs)
    if isinstance(method, Method) and not isinstance(method, SparseGPT):
        found = calibration.statistics if "statistics" in method.needs else None
        progress = functools.partial(report, "mask")
        both = rowwise.prune(model.params, method, found, seed, protocol, progress, checkpoints["mask"])
        return dict(zip(personas, both, strict=True))
    masks: dict[str, Persona] = {}
    for index, persona in enumerate(personas):
        if isinstance(method, FirstOrder):
            progress = functools.partial(report, f"budget, {persona}")
            mask = taylor.prune(model, method, calibration.evidence, index, progress, checkpoints[f"budget {persona}"])
        elif isinstance(method, Steering):
            mask = steering.steer(method, calibration.residuals, index)
        else:
            progress = functools.partial(report, f"mask, {persona}")
            mask = sparsegpt.prune(
                model.params, method, calibration.hessians, index, protocol, progress, checkpoints[f"mask {persona}"]
            )
        masks[persona] = jax.block_until_ready(mask)
    return masks


def _check(personas: tuple[str, str], method: AnyMethod, protocol: Protocol) -> None:
    if personas[0] == personas[1]:
        raise InputError(f"both personas are called {personas[0]!r}; give two different names")
    if isinstance(method, Method):
        method.check(protocol)
