"""Steering vectors: a persona as vectors added to the residual stream instead of a mask.

A vector added after a layer is exactly a bias of the last module before the residual stream: the layer's ``down_proj``, or the
norm behind it (Gemma). So a steered model is the same decoder with other parameters.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import Params, flatten, unflatten

_KERNEL = "layers/mlp/down_proj/kernel"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SteeringVectors:
    """One persona as vectors added to the residual stream; a pytree with ``+``, unary ``-`` and multiplication by a number.

    Attributes:
      vectors: float32 [layer, hidden], added after each layer; zeros for a layer without one.
    """

    vectors: jax.Array

    def apply(self, params: Params, gamma: float = 0.0) -> dict[str, Any]:
        """Returns new parameters with the vectors, multiplied by 1 - gamma, added to the biases.

        Raises:
          InputError: if the model has another shape.
        """
        flat = flatten(params)
        norm = "layers/post_feedforward_layernorm"
        bias = f"{norm}/bias" if f"{norm}/scale" in flat else "layers/mlp/down_proj/bias"
        layers, _, hidden = flat[_KERNEL].shape
        if self.vectors.shape != (layers, hidden):
            raise InputError(f"steering vectors do not fit the model: they are {self.vectors.shape}, it is {(layers, hidden)}")
        added = (1 - gamma) * self.vectors
        flat[bias] = (flat.get(bias, 0) + added).astype(flat[_KERNEL].dtype)
        return unflatten(flat)

    def in_layer(self, number: int) -> "SteeringVectors":
        """Returns the vector of one layer, [1, hidden]."""
        return SteeringVectors(self.vectors[number : number + 1])

    def at_head(self) -> None:
        """Returns None: the head is unchanged."""

    def __add__(self, other: "SteeringVectors") -> "SteeringVectors":
        return jax.tree.map(jnp.add, self, other)

    def __mul__(self, factor: float) -> "SteeringVectors":
        return jax.tree.map(lambda vectors: factor * vectors, self)

    __rmul__ = __mul__

    def __neg__(self) -> "SteeringVectors":
        return -1.0 * self

    def norms(self) -> np.ndarray:
        """Returns the Euclidean norm of each layer's vector, float64 [layer]."""
        return np.linalg.norm(np.asarray(self.vectors, np.float64), axis=1)


def cosine(a: SteeringVectors, b: SteeringVectors) -> float:
    """Returns the cosine similarity of two personas' vectors, concatenated over layers; 0 if either is zero."""
    first, second = (np.asarray(part.vectors, np.float64).ravel() for part in (a, b))
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / length) if length else 0.0
