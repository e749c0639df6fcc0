"""Activation steering by contrastive activation addition (Rimsky et al., 2024): adds a vector instead of a mask.

A layer's vector is the mean over pairs of the difference of the residual stream after that layer, persona's answer minus opposite
answer. Each is a mean over the answer's tokens from where the two diverge. (The source uses one token, the letter of a
multiple-choice answer; our answers are sentences.) ``strength`` times the vector is added after the layer at every position. The
opposite persona gets the negative vector.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxpersona.calibration import residuals_streamed
from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.residuals import Residuals
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_positive
from jaxpersona.masks.steering_vectors import SteeringVectors, cosine
from jaxpersona.methods.method import Method, Need, Search
from jaxpersona.models import sizes
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.model import Model
from jaxpersona.models.streamed_model import StreamedModel


@dataclasses.dataclass(frozen=True)
class Steering(Method):
    """Adds a vector after one layer and removes no weight.

    Attributes:
      layer: layer, from 0, after which the vector is added; None selects the middle of the model.
      strength: multiple of the mean difference between the two personas' residual streams, above 0.
    """

    layer: int | None = None
    strength: float = 1.0
    name: ClassVar[str] = "steering"
    needs: ClassVar[tuple[Need, ...]] = ("residuals",)

    def __post_init__(self) -> None:
        check_positive(self.strength, "method.strength")

    def find(self, model: Model, calibration: Calibration, search: Search) -> Iterator[SteeringVectors]:
        """Yields the vectors of both personas."""
        yield from (self.vectors(calibration.residuals, persona) for persona in (0, 1))

    def find_streamed(self, model: StreamedModel, calibration: Calibration, search: Search) -> Iterator[SteeringVectors]:
        """Yields the vectors of both personas, and stores the averages of the residual stream in ``calibration``."""
        calibration.keep("residuals", residuals_streamed.collect(model, calibration, search.stage.part("calibrate")))
        yield from self.find(model, calibration, search)

    def vectors(self, residuals: Residuals, persona: int) -> SteeringVectors:
        """Returns the steering vectors of one persona.

        Args:
          persona: 0 for the persona of the matching answers, 1 for its opposite.

        Raises:
          InputError: if the model has no such layer.
        """
        layer = self.layer_of(residuals.means.shape[0])
        vector = self.strength * (residuals.means[layer, persona] - residuals.means[layer, 1 - persona])
        return SteeringVectors(jnp.zeros_like(residuals.means[:, 0]).at[layer].set(vector))

    def check_model(self, config: ModelConfig) -> None:
        """Refuses a layer that the model does not have."""
        self.layer_of(config.num_layers)

    def layer_of(self, layers: int) -> int:
        """Returns the layer (from 0) after which the vector is added in a model of ``layers`` layers.

        Raises:
          InputError: if there is no such layer.
        """
        layer = layers // 2 if self.layer is None else self.layer
        if not 0 <= layer < layers:
            raise InputError(f"method.layer is {layer}; the model has layers 0 to {layers - 1}")
        return layer

    def scores(self, model: Model, calibration: Calibration, persona: int, seed: int) -> dict[str, jax.Array]:
        """Raises InputError, because steering scores no weights."""
        raise InputError("method steering has no scores: it adds a vector and removes no weight")

    def statistics_bytes(self, config: ModelConfig, shards: float, data: int) -> tuple[float, float]:
        """Returns the bytes of the residual stream's moments; there are three copies while a batch is added."""
        moments = float(sizes.moments_bytes(config))
        return 3 * moments, moments

    def record(self, calibration: Calibration, personas: tuple[Any, Any]) -> dict[str, Any]:
        """Returns the layer, the residual stream's root-mean-square norm there, and the cosine of the two vectors."""
        length = calibration.residuals.length
        layer = self.layer_of(len(length))
        return {"steering": {"layer": layer, "residual_length": float(length[layer]), "cosine": cosine(*personas)}}
