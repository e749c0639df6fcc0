"""A persona as masks and updated weights: SparseGPT changes the remaining weights to compensate for the removed ones."""

import dataclasses
from typing import Any

import jax

from jaxpersona.core.mesh import shard_like
from jaxpersona.core.tree import Params, flatten, unflatten
from jaxpersona.masks.masks import Masks
from jaxpersona.models.persona import Persona


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class WeightUpdate:
    """One persona's masks and updated weights, which are as large as the kernels themselves.

    Attributes:
      masks: True where a weight remains.
      kernels: [layer, in, out] by kernel path, in the model's dtype, 0 where a weight is removed.
    """

    masks: Masks
    kernels: dict[str, jax.Array]

    def apply(self, params: Params, gamma: float = 0.0) -> dict[str, Any]:
        """Returns new parameters, interpolated from the updated weights at gamma 0 towards those of ``params`` at gamma 1.

        Raises:
          InputError: if the masks do not fit the parameters.
        """
        flat, base = flatten(self.masks.apply(params)), flatten(params)
        for path, kernel in self.kernels.items():
            mixed = kernel + gamma * (base[path] - kernel) if gamma else kernel
            flat[path] = shard_like(base[path], mixed.astype(base[path].dtype))
        return unflatten(flat)

    def in_layer(self, number: int) -> "WeightUpdate":
        """Returns the part of layer ``number``, arrays [1, ...]."""
        return jax.tree.map(lambda leaf: leaf[number : number + 1], self)

    def at_head(self) -> None:
        """Returns None: the head is unchanged."""

    def at_kernel(self, path: str, layer: int | None = None) -> "WeightUpdate | None":
        """Returns the part of one kernel, in ``layer`` or (None) in all layers; None if the kernel is unchanged."""
        masks = self.masks.at_kernel(path)
        if masks is None:
            return None
        part = WeightUpdate(masks, {path: self.kernels[path]})
        return part if layer is None else part.in_layer(layer)


def masks_of(persona: Persona) -> Masks | None:
    """Returns the masks of a persona; None for steering vectors."""
    if isinstance(persona, WeightUpdate):
        return persona.masks
    return persona if isinstance(persona, Masks) else None
