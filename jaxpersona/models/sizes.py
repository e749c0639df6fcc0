"""Sizes of a model's arrays in bytes, from its configuration alone; ``docs/cost.md`` derives and checks them."""

import functools
import math

from jax.sharding import AbstractMesh, AxisType

from jaxpersona.core.mesh import AXES, shardings
from jaxpersona.core.tree import flatten
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import QUERY_BLOCKS, parameter_shapes
from jaxpersona.models.sites import SITE_OF, kernels, module_of
from jaxpersona.ops.bitpack import word_rows

PERSONAS = 2
_MOMENTS = 3
_COMPUTED = (1 + 1 / QUERY_BLOCKS) / 2  # share of a row's attention scores: each block of queries skips later keys


@functools.cache
def kernel_shapes(config: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """Returns the shapes (layer, in, out) of all maskable kernels by path."""
    found = {path: kernel.shape for path, kernel in kernels(parameter_shapes(config)).items()}
    return {path: (layers, inputs, outputs) for path, (layers, inputs, outputs) in found.items()}


def channels(config: ModelConfig) -> dict[str, int]:
    """Returns the number of channels by site."""
    return {SITE_OF[module_of(path)]: inputs for path, (_, inputs, _) in kernel_shapes(config).items()}


def maskable(config: ModelConfig) -> int:
    """Returns the number of maskable weights."""
    return sum(math.prod(shape) for shape in kernel_shapes(config).values())


def parameters(config: ModelConfig) -> int:
    """Returns the number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in flatten(parameter_shapes(config)).values())


def largest_leaf(config: ModelConfig) -> int:
    """Returns the number of elements of the largest parameter array, which is read in one piece."""
    return max(math.prod(leaf.shape) for leaf in flatten(parameter_shapes(config)).values())


def parameters_of_device(config: ModelConfig, data: int, model: int) -> int:
    """Returns the number of parameters on one device of a mesh, under the rules of ``core/mesh.py``."""
    mesh = AbstractMesh((data, model), AXES, axis_types=(AxisType.Auto, AxisType.Auto))
    shapes = parameter_shapes(config)
    split = flatten(shardings(shapes, mesh))  # type: ignore[arg-type]
    return sum(math.prod(split[path].shard_shape(leaf.shape)) for path, leaf in flatten(shapes).items())


def mask_bytes(config: ModelConfig) -> int:
    """Returns the bytes of one persona's packed masks: a bit per weight, inputs padded to a multiple of 256."""
    return sum(2 * layers * word_rows(inputs) * outputs for layers, inputs, outputs in kernel_shapes(config).values())


def moments_bytes(config: ModelConfig) -> int:
    """Returns the bytes of the moments of both personas."""
    return 4 * _MOMENTS * PERSONAS * config.num_layers * sum(channels(config).values())


def outer_bytes(config: ModelConfig, personas: int = PERSONAS) -> int:
    """Returns the bytes of the second moments x x' of every site."""
    return 4 * personas * config.num_layers * sum(size**2 for size in channels(config).values())


def activation_bytes(config: ModelConfig, rows: int, length: int, model: int, itemsize: int) -> float:
    """Returns the peak bytes of a forward pass with statistics, for the rows of one device.

    Counts the larger of two peaks: in the MLP, its three arrays in float32 with |h| and h^2 of the widest site; in attention, the
    scores of the last block of queries and their exponentials. Adds the residual stream before and after a block, and one layer's
    kernels, copied out of their stack.
    """
    tokens, mlp, stream = rows * length, config.intermediate_size / model, config.hidden_size * itemsize
    scores = 2 * 4 * rows * (config.num_heads / model) * length**2 / QUERY_BLOCKS
    widest = max(5 * 4 * tokens * mlp, scores + 4 * tokens * 3 * config.num_heads * config.head_dim / model)
    return widest + 2 * tokens * stream + maskable(config) / config.num_layers / model * itemsize


def gradient_activation_bytes(config: ModelConfig, rows: int, length: int, model: int, layers: int) -> float:
    """Returns the bytes that a backward pass keeps, all in float32.

    Counts the input of each of ``layers`` layers, and the largest of what exists beside them: five arrays of the MLP's
    inner size and eight of the residual stream's, fitted to XLA's plans on CPUs; the attention scores of a layer; the logits.
    """
    tokens = rows * length
    inputs = 4 * tokens * layers * config.hidden_size
    layer = 4 * tokens * (5 * config.intermediate_size / model + 8 * config.hidden_size)
    scores = 3 * 4 * _COMPUTED * rows * (config.num_heads / model) * length**2
    return inputs + max(layer, scores, logit_bytes(config, length, model))


def logit_bytes(config: ModelConfig, tokens: int, model: int) -> float:
    """Returns the bytes of one row's float32 logits, and as many again for their log-softmax."""
    return 2 * 4 * tokens * config.vocab_size / model


def selection_bytes(config: ModelConfig, devices: int) -> float:
    """Returns the bytes of selecting one layer of the largest kernel: scores, their bits and masks of both personas."""
    return 10 * 4 * max(inputs * outputs for _, inputs, outputs in kernel_shapes(config).values()) / devices
