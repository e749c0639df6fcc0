"""The interface of a method: an immutable value that collects, scores, selects, streams, and reports its memory."""

import abc
import dataclasses
from collections.abc import Hashable, Iterator
from typing import Any, ClassVar, Literal

import jax

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import Protocol
from jaxpersona.core.stage import Stage
from jaxpersona.methods.price_search import Reached
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.model import Model
from jaxpersona.models.persona import Persona
from jaxpersona.models.streamed_model import StreamedModel

Need = Literal["statistics", "hessians", "taylor", "residuals"]
"""Name of a statistic that ``Calibration`` collects."""


@dataclasses.dataclass(frozen=True)
class Search:
    """Inputs of a method's search, beside model and calibration data.

    Attributes:
      personas: names of the persona of the matching answers and of its opposite.
      seed: of methods that draw random numbers.
      stage: progress and checkpoints.
      reached: receives how near the search for each persona came to its target, if the method searches for one.
    """

    personas: tuple[str, str]
    seed: int
    stage: Stage
    reached: dict[str, Reached] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """Base class of all methods. Its fields are the method's settings."""

    name: ClassVar[str]
    """The method's name in configurations."""
    needs: ClassVar[tuple[Need, ...]]
    """Statistics that ``find`` uses."""

    def collect(self, calibration: Calibration) -> None:
        """Collects the statistics that ``find`` uses, now rather than at their first use."""
        calibration.collect(self.needs)

    @abc.abstractmethod
    def find(self, model: Model, calibration: Calibration, search: Search) -> Iterator[Persona]:
        """Finds both personas of a model in memory and yields each as soon as it is found.

        Raises:
          InputError: if a selector matches nothing, or the budget cannot be met.
        """

    @abc.abstractmethod
    def find_streamed(self, model: StreamedModel, calibration: Calibration, search: Search) -> Iterator[Persona]:
        """Finds both personas of a model whose weights are read layer by layer, and collects the statistics on the way.

        Raises:
          InputError: as ``find``, and if a setting is not possible on a streamed model.
        """

    @abc.abstractmethod
    def scores(self, model: Model, calibration: Calibration, persona: int, seed: int) -> dict[str, jax.Array]:
        """Returns the scores that select the weights of persona 0 or 1, float32 [layer, in, out] by kernel path.

        Raises:
          InputError: if the method scores no weights.
        """

    @abc.abstractmethod
    def statistics_bytes(self, config: ModelConfig, shards: float, data: int) -> tuple[float, float]:
        """Returns the bytes of statistics on one device: at the peak of collection, and until the masks are found.

        Args:
          config: of the model.
          shards: number of parts that model-sized arrays are split into, by devices or by layers.
          data: number of devices that texts are sharded over, each of which may hold a part of the sums.
        """

    def streamed_statistics_bytes(self, config: ModelConfig, shards: float) -> tuple[float, float]:
        """Returns ``statistics_bytes`` of a model that is read layer by layer; ``shards`` counts the layers."""
        return self.statistics_bytes(config, shards, 1)

    takes_gradients: ClassVar[bool] = False
    """True if calibration runs backward passes."""

    def check(self, protocol: Protocol) -> None:  # noqa: B027, most methods accept every protocol
        """Checks the settings against the protocol.

        Raises:
          InputError: if a setting contradicts the protocol.
        """

    def check_model(self, config: ModelConfig) -> None:  # noqa: B027, methods without layers in their settings fit every model
        """Checks the settings against a model, before anything is computed.

        Raises:
          InputError: if a selector matches nothing in it, or it has no such layer.
        """

    def compile_ahead(self, model: Model, seed: int, protocol: Protocol) -> None:  # noqa: B027, optional
        """Compiles the programs of ``find`` whose shapes are known, while calibration runs."""

    def texts(self) -> dict[str, str]:
        """Returns the contents of the files that settings name, by configuration key."""
        return {}

    @property
    def budget(self) -> Hashable:
        """The settings that define the budget. In a sweep, methods with equal budgets share controls."""
        return self

    @property
    def measures_perplexity(self) -> bool:
        """True if the search runs the model under candidate masks."""
        return False

    @property
    def updates_weights(self) -> bool:
        """True if the method also changes the remaining weights."""
        return False

    def record(self, calibration: Calibration, personas: tuple[Persona, Persona]) -> dict[str, Any]:
        """Returns further entries of ``run.json``."""
        return {}


def check_one_of(known: tuple[str, ...], value: str, setting: str, method: str) -> None:
    """Checks that the value of ``setting`` is one of ``known``.

    Raises:
      InputError: if it is not.
    """
    if value not in known:
        raise InputError(f"{setting} {value!r} of method {method} is unknown; known: {', '.join(known)}")
