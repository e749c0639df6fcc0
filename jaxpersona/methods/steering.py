"""Activation steering: contrastive activation addition (Rimsky et al., 2024), a method that adds a vector instead of a mask.

The vector of a layer is the mean over pairs of the residual stream after that layer on the persona's answer minus that on the
opposite one, each a mean over the answer's tokens from where the two part. (The source takes one token, the letter of a
multiple-choice answer; our answers are sentences.) ``strength`` times the vector is added after the layer at every position; the
opposite persona gets the negative. Added there, a vector is exactly a bias of the layer's ``down_proj``: a steered model is the
same decoder with other parameters.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpersona.calibration.moments import weighted_sums
from jaxpersona.core.checkpoints import NOTHING, Checkpoint, summed
from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import add_over_rows, pin_moments, place_rows, row_multiple
from jaxpersona.core.progress import Progress, silent
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.packing import Batch, answer_shares, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.masks.masks import Params
from jaxpersona.methods.methods import Steering
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.model import Model

_BIAS, _KERNEL = "layers/mlp/down_proj/bias", "layers/mlp/down_proj/kernel"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SteeringVectors:
    """One persona as vectors added to the residual stream; a pytree, with sums and multiples.

    Attributes:
      vectors: float32 [layer, hidden], added after each layer; zero where nothing is.
    """

    vectors: jax.Array

    def apply(self, params: Params, gamma: float = 0.0) -> dict[str, Any]:
        """New parameters whose ``down_proj`` biases hold the vectors, at 1 - gamma of their strength.

        Raises:
          InputError: for a model of another shape, or one with a norm between MLP and residual stream (Gemma).
        """
        flat = flatten(params)
        _check_family(params)
        layers, _, hidden = flat[_KERNEL].shape
        if self.vectors.shape != (layers, hidden):
            raise InputError(f"steering vectors do not fit the model: they are {self.vectors.shape}, it is {(layers, hidden)}")
        added = (1 - gamma) * self.vectors
        flat[_BIAS] = (flat.get(_BIAS, 0) + added).astype(flat[_KERNEL].dtype)
        return unflatten(flat)

    def __add__(self, other: "SteeringVectors") -> "SteeringVectors":
        return jax.tree.map(jnp.add, self, other)

    def __mul__(self, factor: float) -> "SteeringVectors":
        return jax.tree.map(lambda vectors: factor * vectors, self)

    __rmul__ = __mul__

    def __neg__(self) -> "SteeringVectors":
        return -1.0 * self

    def norms(self) -> np.ndarray:
        """Euclidean length of each layer's vector, float64 [layer]."""
        return np.linalg.norm(np.asarray(self.vectors, np.float64), axis=1)


@dataclasses.dataclass(frozen=True)
class Residuals:
    """The residual stream after every layer, over the answers of each persona.

    Attributes:
      means: float32 [layer, persona, hidden], mean over pairs of the mean over an answer's tokens.
      length: float32 [layer], root mean square of its Euclidean length over both personas' answers.
    """

    means: jax.Array
    length: jax.Array


def collect_residuals(
    model: Model, pairs: Sequence[TokenizedPair], progress: Progress = silent, checkpoint: Checkpoint = NOTHING
) -> Residuals:
    """Runs the pairs through the model, for the vectors of all layers at once; ``checkpoint`` keeps the sums so far.

    Raises:
      InputError: for a model with a norm between MLP and residual stream (Gemma).
    """
    decoder = Decoder(model.config, weighted_sums, sites=("layer_out",))

    def sums(batch: Batch) -> Any:
        return _sums(model.params, place_rows(batch, model.mesh), decoder, model.mesh)

    return residuals_of(summed(answer_batches(model, pairs), sums, checkpoint, progress))


def answer_batches(model: Model, pairs: Sequence[TokenizedPair]) -> list[Batch]:
    """The pairs in batches whose weights make sums over tokens means over pairs of means over an answer.

    Raises:
      InputError: for a model with a norm between MLP and residual stream (Gemma).
    """
    _check_family(model.params)
    batches = pack(pairs, model.tokenizer.bos_token_id, row_multiple=row_multiple(model.mesh))
    return [dataclasses.replace(batch, weights=answer_shares(batch, pairs) / len(pairs)) for batch in batches]


def residuals_of(sums: Mapping[str, jax.Array]) -> Residuals:
    """The residuals from weighted sums by moment, [layer, persona, hidden]."""
    return Residuals(sums["mean"], jnp.sqrt(jnp.mean(jnp.sum(sums["mean_square"], axis=2), axis=1)))


@functools.partial(jax.jit, static_argnames=("decoder", "mesh"))
def _sums(params: Params, batch: Batch, decoder: Decoder, mesh: Mesh | None) -> Any:
    """Weighted sums by moment, [layer, persona, hidden] over the batch's tokens."""

    def local(params: Params, batch: Batch) -> Any:
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": batch.weights}
        _, state = decoder.apply({"params": params}, batch.tokens, **inputs, mutable=["stats"], method="hidden")
        return by_site(state)["layer_out"]

    return pin_moments(add_over_rows(local, mesh, (params,), (batch,)), mesh)


def steer(method: Steering, residuals: Residuals, persona: int) -> SteeringVectors:
    """The steering vector of one persona.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.

    Raises:
      InputError: when the model has no such layer.
    """
    layer = layer_of(method, residuals.means.shape[0])
    vector = method.strength * (residuals.means[layer, persona] - residuals.means[layer, 1 - persona])
    return SteeringVectors(jnp.zeros_like(residuals.means[:, 0]).at[layer].set(vector))


def layer_of(method: Steering, layers: int) -> int:
    """The layer (from 0) after which ``method`` adds its vector in a model of so many layers.

    Raises:
      InputError: when there is no such layer.
    """
    layer = layers // 2 if method.layer is None else method.layer
    if not 0 <= layer < layers:
        raise InputError(f"method.layer is {layer}; the model has layers 0 to {layers - 1}")
    return layer


def cosine(a: SteeringVectors, b: SteeringVectors) -> float:
    """Cosine of the angle between two steerings, over all layers together; 0 where one is zero."""
    first, second = (np.asarray(part.vectors, np.float64).ravel() for part in (a, b))
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / length) if length else 0.0


def _check_family(params: Mapping[str, Any]) -> None:
    if "post_feedforward_layernorm" in params["layers"]:
        raise InputError("steering is not possible in Gemma models here: a norm stands between their MLP and the residual stream")
