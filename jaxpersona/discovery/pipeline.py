"""Discovers masks: pairs -> calibration -> masks. The library side of ``python -m jaxpersona.discover``."""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax

from jaxpersona.calibration.calibrate import Calibration, calibrate
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.calibration.moments import Statistics
from jaxpersona.core.background import in_background
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import STRICT, Protocol, resolve
from jaxpersona.core.ranges import check_seed
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.timing import timed
from jaxpersona.data.pairs import Pair
from jaxpersona.data.text import TextMode
from jaxpersona.methods.method import Method, Search
from jaxpersona.methods.price_search import Reached
from jaxpersona.methods.taylor import Taylor
from jaxpersona.models.model import Model
from jaxpersona.models.persona import Persona
from jaxpersona.models.streamed_model import StreamedModel

OnFound = Callable[[str, Persona], None]
"""Receives the name of a persona and its masks or steering vectors."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The result of a discovery.

    Attributes:
      model: the model that the masks are for.
      method: the method with its settings.
      masks: masks or steering vectors by persona name; the persona of the matching answers comes first.
      calibration: the drawn pairs and the statistics collected from them.
      seed: of all random choices.
      seconds: wall time by stage.
      reached: how near the search for each persona came to its target, if the method searches for one.
    """

    model: Model
    method: Method
    masks: dict[str, Persona]
    calibration: Calibration
    seed: int
    seconds: dict[str, float]
    reached: dict[str, Reached] = dataclasses.field(default_factory=dict)

    @property
    def statistics(self) -> Statistics | None:
        """The moments of the activations; None if the method does not need them."""
        return self.calibration.statistics if "statistics" in self.method.needs else None

    def scores(self, persona: str) -> dict[str, jax.Array]:
        """Returns the scores that selected a persona's weights, float32 [layer, in, out] by kernel path.

        Raises:
          InputError: if the method scores no weights (steering), or the model was streamed.
        """
        if isinstance(self.model, StreamedModel):
            raise InputError("scores are as large as the model, and it was streamed; load it whole to get them")
        return self.method.scores(self.model, self.calibration, list(self.masks).index(persona), self.seed)


def discover(
    model: Model,
    pairs: Iterable[Pair],
    method: Method | None = None,
    *,
    personas: tuple[str, str] = ("seek", "reject"),
    num_samples: int = 128,
    text: TextMode = "chat",
    max_length: int = 512,
    seed: int = 42,
    protocol: str | Protocol = STRICT,
    generated: TextAmount | None = None,
    reuse_factors: bool = False,
    stage: Stage = QUIET,
    on_found: OnFound | None = None,
) -> Run:
    """Finds the masks of both personas of contrastive pairs, by ``calibrate`` and ``find_masks``.

    Args:
      model: from ``load_model``, or ``load_streamed`` if it does not fit into memory.
      pairs: from ``load_pairs``, or any pairs.
      method: default ``Taylor()``.
      personas: names of the persona of the matching answers and of its opposite.
      num_samples: number of pairs to draw; all if there are fewer, or if the protocol does not sample.
      text: which parts of a pair the model sees (``data/text.py``); ``lines:`` data are used unchanged.
      max_length: maximum tokens per text; longer texts are cut.
      seed: of all random choices.
      protocol: strict, paper or official (``core/protocol.py``).
      generated: how much text the model generates for method ``taylor``; None selects 48 texts of 128 tokens.
      reuse_factors: for method ``taylor``, keeps what depends on the model alone in the cache folder, so that the next persona of
        the model does not compute it again; not for streamed models.
      stage: progress, and checkpoints from which a killed run resumes.
      on_found: receives each persona as soon as it is found.

    Raises:
      InputError: if no pair is usable, ``max_length`` exceeds the model's positions, a selector matches nothing, or a setting
        contradicts the protocol.
    """
    method, protocol, seconds, reached = method or Taylor(), resolve(protocol), {}, {}
    _check(personas, method, protocol)
    method.check_model(model.config)
    options = {"num_samples": num_samples, "text": text, "max_length": max_length, "seed": seed, "protocol": protocol}
    with timed(seconds, "tokenize"):
        calibration = calibrate(model, pairs, **options, generated=generated, reuse_factors=reuse_factors, stage=stage)
    if method.needs and not isinstance(model, StreamedModel):  # a streamed search collects each layer's statistics itself
        compile_ahead = functools.partial(method.compile_ahead, model, seed, protocol)
        with timed(seconds, "calibrate"), in_background(compile_ahead):
            method.collect(calibration)
    with timed(seconds, "mask"):
        found = {"on_found": on_found, "reached": reached}
        masks = find_masks(model, method, calibration, personas=personas, seed=seed, stage=stage, **found)
    return Run(model, method, masks, calibration, seed, seconds, reached)


def find_masks(
    model: Model,
    method: Method,
    calibration: Calibration,
    *,
    personas: tuple[str, str] = ("seek", "reject"),
    seed: int = 42,
    stage: Stage = QUIET,
    on_found: OnFound | None = None,
    reached: dict[str, Reached] | None = None,
) -> dict[str, Persona]:
    """Finds the masks or steering vectors of both personas. Several methods may share the calibration data.

    Args:
      model: from ``load_model`` or ``load_streamed``.
      method: the method with its settings.
      calibration: from ``calibrate``, of the same model.
      personas: names of the persona of the matching answers and of its opposite.
      seed: of methods that draw random numbers.
      stage: progress and checkpoints.
      on_found: receives each persona as soon as it is found.
      reached: receives how near the search for each persona came to its target, if the method searches for one.

    Returns:
      Masks or steering vectors by persona name.

    Raises:
      InputError: if the personas have the same name, a selector matches nothing, or a setting contradicts the protocol.
    """
    _check(personas, method, calibration.protocol)
    check_seed(seed)
    search, masks = Search(personas, seed, stage, {} if reached is None else reached), {}
    if isinstance(model, StreamedModel):
        results = method.find_streamed(model, calibration, search)
    else:
        method.collect(calibration)
        results = method.find(model, calibration, search)
    for name, persona in zip(personas, results, strict=True):
        masks[name] = jax.block_until_ready(persona)
        if on_found is not None:
            on_found(name, masks[name])
    return masks


def _check(personas: tuple[str, str], method: Method, protocol: Protocol) -> None:
    if personas[0] == personas[1]:
        raise InputError(f"both personas are called {personas[0]!r}; give two different names")
    method.check(protocol)
