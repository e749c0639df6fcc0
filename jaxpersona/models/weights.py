"""Parameters from weight files: reads one tensor at a time into the decoder's stacked tree."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.errors import InputError
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import parameter_shapes
from jaxpersona.progress import Progress
from jaxpersona.tree import flatten, unflatten

Params = dict[str, Any]
_LEAF_NAMES = {"kernel": "weight", "embedding": "weight", "scale": "weight", "bias": "bias"}


class TensorSource(Protocol):
    """Weight files that give tensors by their Hugging Face names (without the ``model.`` prefix), shaped (out, in)."""

    def read(self, name: str) -> np.ndarray:
        """The tensor called ``name``."""
        ...


def load_params(source: TensorSource, config: ModelConfig, dtype: Any, progress: Progress) -> Params:
    """The decoder's parameters in ``dtype``.

    Each leaf is filled layer by layer and moved to the device before the next is read, so host memory holds one leaf at a time.

    Args:
      progress: called with (leaves done, leaves in all).

    Raises:
      InputError: when a tensor is missing, has another shape than the configuration says, or holds NaN or infinity.
    """
    shapes = flatten(parameter_shapes(config))
    params = {}
    for path, shape in shapes.items():
        params[path] = jnp.asarray(_read_leaf(source, path, shape.shape, dtype))
        progress(len(params), len(shapes))
    _check_finite(params)
    return unflatten(params)


def _read_leaf(source: TensorSource, path: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    leaf = np.empty(shape, dtype)
    if not path.startswith("layers/"):
        _fill(leaf, source, hf_name(path), path.endswith("kernel"))
    else:
        for layer in range(shape[0]):
            _fill(leaf[layer, ...], source, hf_name(path, layer), path.endswith("kernel"))
    return leaf


def _fill(target: np.ndarray, source: TensorSource, name: str, transpose: bool) -> None:
    value = source.read(name)
    value = value.T if transpose else value
    if value.shape != target.shape:
        raise InputError(f"tensor {name} has shape {value.shape}, config.json says {target.shape}; they are of different models")
    target[...] = value


def hf_name(path: str, layer: int | None = None) -> str:
    """The Hugging Face name, without the ``model.`` prefix, of the parameter at ``path``.

    >>> hf_name("layers/mlp/up_proj/kernel", 3)
    'layers.3.mlp.up_proj.weight'
    """
    *modules, leaf = path.split("/")
    if layer is not None:
        modules.insert(1, str(layer))
    return ".".join([*modules, _LEAF_NAMES[leaf]])


@jax.jit
def _finite(leaves: list[jax.Array]) -> jax.Array:
    """Whether each leaf is finite throughout, bool [leaves]."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])


def _check_finite(params: dict[str, jax.Array]) -> None:
    for path, finite in zip(params, np.asarray(_finite(list(params.values()))), strict=True):  # one compilation for all
        if not finite:
            raise InputError(f"weights of {path} hold NaN or infinity; the file is damaged or its dtype overflowed, get it again")
