"""What discovery costs, by formula: operations, bytes moved, sent and held. ``docs/cost.md`` derives and checks them.

Tokens t are those of padded rows of T tokens each; N is the number of maskable weights, L of layers, C a site's channels.
"""

import functools
import math

from jax.sharding import AbstractMesh, AxisType

from jaxpersona.core.mesh import AXES, shardings
from jaxpersona.core.tree import flatten
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import BLOCKS, parameter_shapes
from jaxpersona.models.sites import SITE_OF, kernels, module_of
from jaxpersona.ops.bitpack import word_rows

MOMENTS, PERSONAS = 3, 2
_SEEN = (1 + 1 / BLOCKS) / 2  # of a row's scores, where each block of queries forms those of earlier keys
_PASSES, _HALF = 32, 2  # at most, while a threshold is found bit by bit: 16 over either half of the scores, of 2 bytes


@functools.cache
def kernel_shapes(config: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """Shapes (layer, in, out) of all maskable kernels by path."""
    found = {path: kernel.shape for path, kernel in kernels(parameter_shapes(config)).items()}
    return {path: (layers, inputs, outputs) for path, (layers, inputs, outputs) in found.items()}


def channels(config: ModelConfig) -> dict[str, int]:
    """Channels by site."""
    return {SITE_OF[module_of(path)]: inputs for path, (_, inputs, _) in kernel_shapes(config).items()}


def maskable(config: ModelConfig) -> int:
    """Number of maskable weights."""
    return sum(math.prod(shape) for shape in kernel_shapes(config).values())


def parameters(config: ModelConfig) -> int:
    """Number of all parameters."""
    return sum(math.prod(leaf.shape) for leaf in flatten(parameter_shapes(config)).values())


def largest_leaf(config: ModelConfig) -> int:
    """Numbers in the largest parameter array, which is read in one piece."""
    return max(math.prod(leaf.shape) for leaf in flatten(parameter_shapes(config)).values())


def parameters_of_device(config: ModelConfig, data: int, model: int) -> int:
    """Numbers that one device holds of the parameters, under the rules of ``distributed.py``."""
    mesh = AbstractMesh((data, model), AXES, axis_types=(AxisType.Auto, AxisType.Auto))
    shapes = parameter_shapes(config)
    split = flatten(shardings(shapes, mesh))  # type: ignore[arg-type]
    return sum(math.prod(split[path].shard_shape(leaf.shape)) for path, leaf in flatten(shapes).items())


def forward_flops(config: ModelConfig, tokens: int, length: int, head: bool = False) -> float:
    """2 N t for the products, 4 L t T times the width of all heads for what is formed of attention, 2 V C t for the head."""
    attention = 4 * _SEEN * config.num_layers * tokens * length * config.num_heads * config.head_dim
    logits = 2 * config.vocab_size * config.hidden_size * tokens if head else 0
    return 2 * maskable(config) * tokens + attention + logits


def moment_flops(config: ModelConfig, tokens: int, personas: int = PERSONAS) -> float:
    """Three weighted sums over tokens for each persona and channel."""
    return 2 * MOMENTS * personas * tokens * config.num_layers * sum(channels(config).values())


def outer_flops(config: ModelConfig, tokens: int, personas: int = PERSONAS) -> float:
    """x x' of every site."""
    return 2 * personas * tokens * config.num_layers * sum(size**2 for size in channels(config).values())


def gradient_flops(config: ModelConfig, tokens: int, length: int, weights: bool) -> float:
    """Forward, backward by activations and, if asked for, by weights; outer products of inputs, for the Fisher factors.

    Attention has two products forward, which the backward pass forms anew, and four backward. Logits are formed on the backward
    pass alone, then go back once; here those of all tokens, though of pairs only those of answers are.
    """
    products, head = 2 * maskable(config) * tokens, forward_flops(config, tokens, length, head=True)
    attention = forward_flops(config, tokens, length) - products
    logits = head - products - attention
    return (3 if weights else 2) * products + 4 * attention + 2 * logits + outer_flops(config, tokens, personas=1)


def removal_flops(config: ModelConfig) -> float:
    """One choice at a price: A D of every kernel, 2 in^2 out."""
    return sum(2.0 * layers * inputs**2 * outputs for layers, inputs, outputs in kernel_shapes(config).values())


def inverse_flops(config: ModelConfig) -> float:
    """SparseGPT's choice for one persona: factor and inverse (4/3 in^3), and errors moved to later inputs (2 in^2 out)."""
    shapes = kernel_shapes(config).values()
    return sum(layers * (4 / 3 * inputs**3 + 2.0 * inputs**2 * outputs) for layers, inputs, outputs in shapes)


def selection_bytes(config: ModelConfig) -> float:
    """Bisection reads a half of both personas' float32 scores for at most 32 bits each, where comparison and sum are fused."""
    return float(PERSONAS * _PASSES * _HALF * maskable(config))


def mask_bytes(config: ModelConfig) -> int:
    """One persona's packed masks: a bit a weight, with inputs filled up to a multiple of 256."""
    return sum(2 * layers * word_rows(inputs) * outputs for layers, inputs, outputs in kernel_shapes(config).values())


def moments_bytes(config: ModelConfig) -> int:
    """Moments of both personas."""
    return 4 * MOMENTS * PERSONAS * config.num_layers * sum(channels(config).values())


def outer_bytes(config: ModelConfig, personas: int = PERSONAS) -> int:
    """Second moments x x' of every site."""
    return 4 * personas * config.num_layers * sum(size**2 for size in channels(config).values())


def activation_bytes(config: ModelConfig, rows: int, length: int, model: int, itemsize: int) -> float:
    """Peak of a forward pass with statistics, for the rows of one device.

    The MLP's three arrays, as products come out in float32, and |h| and h^2 of the widest site beside them; the residual stream
    before and after a block; attention scores of the last block of queries, and their exponentials; and one layer's kernels, cut
    out of their stack.
    """
    tokens, mlp, stream = rows * length, config.intermediate_size / model, config.hidden_size * itemsize
    scores = 2 * 4 * rows * (config.num_heads / model) * length**2 / BLOCKS
    widest = max(5 * 4 * tokens * mlp, scores + 4 * tokens * 3 * config.num_heads * config.head_dim / model)
    return widest + 2 * tokens * stream + maskable(config) / config.num_layers / model * itemsize


def moved_activation_bytes(config: ModelConfig, length: int, itemsize: int) -> float:
    """To and from memory for one token of a forward pass: inputs and outputs of the products, and scores three times."""
    ends = sum(inputs * itemsize + 2 * 4 * outputs for _, inputs, outputs in kernel_shapes(config).values())
    return config.num_layers * (ends + 3 * 4 * _SEEN * config.num_heads * length)


def gradient_activation_bytes(
    config: ModelConfig, rows: int, length: int, model: int, layers: int, weights: bool = True
) -> float:
    """What a backward pass keeps, float32: of so many layers the MLP's gate, up and, for the gradient by weights, what the last
    product reads, and the residual stream with what is made of it; the attention scores of one layer.
    """
    tokens = rows * length
    scores = 3 * 4 * _SEEN * rows * (config.num_heads / model) * length**2
    kept = (2 + weights) * config.intermediate_size / model + (5 + 3 * weights) * config.hidden_size
    return layers * 4 * tokens * kept + scores + logit_bytes(config, length, model)


def logit_bytes(config: ModelConfig, tokens: int, model: int) -> float:
    """Float32 logits of one row, and what the log-probabilities make of them."""
    return 2 * 4 * tokens * config.vocab_size / model


def selection_bytes_held(config: ModelConfig, devices: int) -> float:
    """While the weights of one layer of the largest kernel are chosen: scores, their bits and masks of both personas."""
    return 10 * 4 * max(inputs * outputs for _, inputs, outputs in kernel_shapes(config).values()) / devices


def sent_for_rows(config: ModelConfig, tokens: float, model: int) -> float:
    """Bytes a device sends over ``model``: two sums a layer of float32 [tokens of the device, hidden], around a ring."""
    return 2 * config.num_layers * 4 * tokens * config.hidden_size * 2 * (model - 1) / model


def sent_for_sums(size: float, data: int) -> float:
    """Bytes a device sends to add up ``size`` bytes over ``data``, around a ring."""
    return 2 * size * (data - 1) / data


def sent_for_masks(config: ModelConfig, model: int, itemsize: int) -> float:
    """Bytes a device sends in the all-to-all of the kernels that are split by inputs."""
    moved = sum(math.prod(shape) for path, shape in kernel_shapes(config).items() if module_of(path) in ("o_proj", "down_proj"))
    return itemsize * moved / model * (model - 1) / model
