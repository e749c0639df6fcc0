"""The interface of a method: a small frozen value that collects, scores, selects, streams, and knows its own cost."""

import abc
import dataclasses
from collections.abc import Hashable, Iterator
from typing import Any, ClassVar, Literal

import jax

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import Protocol
from jaxpersona.core.stage import Stage
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.model import Model
from jaxpersona.models.persona import Persona
from jaxpersona.models.streamed_model import StreamedModel

Need = Literal["statistics", "hessians", "taylor", "residuals"]
"""A statistic that ``Calibration`` collects."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What every method is given beside model and calibration data.

    Attributes:
      personas: names of the two personas; the one of the matching answers comes first.
      seed: of methods that draw.
      stage: progress and checkpoints.
    """

    personas: tuple[str, str]
    seed: int
    stage: Stage


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """Base class of all methods. Fields are its settings; equal settings are the same method."""

    name: ClassVar[str]
    """As configurations name it."""
    needs: ClassVar[tuple[Need, ...]]
    """Statistics that the resident form reads."""

    @abc.abstractmethod
    def find(self, model: Model, calibration: Calibration, search: Search) -> Iterator[Persona]:
        """Yields both personas, each as soon as it is found, from a model in memory.

        Raises:
          InputError: when a selector matches nothing, or the budget cannot be met.
        """

    @abc.abstractmethod
    def find_streamed(self, model: StreamedModel, calibration: Calibration, search: Search) -> Iterator[Persona]:
        """Yields both personas from a model whose weights are read layer by layer; collects what it needs on the way.

        Raises:
          InputError: as ``find``, and where a setting is not possible on a streamed model.
        """

    @abc.abstractmethod
    def scores(self, model: Model, calibration: Calibration, persona: int, seed: int) -> dict[str, jax.Array]:
        """Returns the scores behind the masks of persona 0 or 1, float32 [layer, in, out] by kernel path.

        Raises:
          InputError: for a method that scores no weights.
        """

    @abc.abstractmethod
    def statistics_bytes(self, config: ModelConfig, shards: float, in_place: bool) -> tuple[float, float]:
        """Returns bytes of statistics on one device: at the peak of collecting them, and until the masks are found.

        Args:
          config: of the model.
          shards: number of parts that arrays as large as the model are split into, by devices or by layers.
          in_place: whether the device adds a batch's gradients to the sums in place, as it shares the texts with no other.
        """

    takes_gradients: ClassVar[bool] = False
    """Whether calibration runs backward passes."""

    def check(self, protocol: Protocol) -> None:  # noqa: B027, most methods have nothing to refuse
        """Refuses a setting that contradicts the protocol.

        Raises:
          InputError: for such a setting.
        """

    def compile_ahead(self, model: Model, seed: int, protocol: Protocol) -> None:  # noqa: B027, optional
        """Compiles the programs of ``find`` while calibration runs, where their shapes are known."""

    def texts(self) -> dict[str, str]:
        """Returns the contents of the files that settings name, by configuration key."""
        return {}

    @property
    def budget(self) -> Hashable:
        """The budget alone: methods of one budget share their controls in a sweep."""
        return self

    @property
    def measures_perplexity(self) -> bool:
        """Whether the search runs the model under masks it tries."""
        return False

    @property
    def updates_weights(self) -> bool:
        """Whether a persona is more than a mask: the remaining weights change too."""
        return False

    def record(self, calibration: Calibration, personas: tuple[Persona, Persona]) -> dict[str, Any]:
        """Returns further entries of ``run.json``."""
        return {}


def check_one_of(known: tuple[str, ...], value: str, setting: str, method: str) -> None:
    """Refuses a value of ``setting`` that is not among ``known``.

    Raises:
      InputError: for such a value.
    """
    if value not in known:
        raise InputError(f"{setting} {value!r} of method {method} is unknown; known: {', '.join(known)}")


def check_not_negative(value: float, setting: str) -> None:
    """Refuses a negative value.

    Raises:
      InputError: for such a value.
    """
    if not value >= 0:
        raise InputError(f"{setting} is {value}; it must not be negative")
