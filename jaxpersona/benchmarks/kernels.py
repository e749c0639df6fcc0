"""Times masked products at the shapes of Llama-3-8B, in decoding and prefill, beside dense weights and a model per persona."""

import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.core.errors import InputError
from jaxpersona.models.precision import pick_dtypes
from jaxpersona.ops.bitpack import word_rows
from jaxpersona.ops.masked_matmul import choice, kernel_for, masked_matmul
from jaxpersona.ops.masked_matmul.block_sizes import Blocks

_LAYERS = 32
_SHAPES = {(4096, 4096): 2, (4096, 1024): 2, (4096, 14336): 2, (14336, 4096): 1}
"""Kernels [in, out] of a layer of Llama-3-8B, and their number."""
_WORKING_SET = 512e6
"""Bytes that are read before the same weights are read again, so that no cache holds them."""
_CANDIDATES = {
    "tpu": [Blocks(256, inputs, outputs) for inputs, outputs in itertools.product((512, 1024, 2048), (256, 512, 1024))],
    "gpu": [Blocks(16, 256, outputs, splits) for outputs, splits in itertools.product((32, 64, 128), (1, 2, 4, 8))],
    "hopper": [Blocks(64, inputs, 128, splits) for inputs, splits in itertools.product((64, 128), (1, 2, 4, 8))],
}


def run(config: BenchmarkConfig) -> Measurements:
    """Measures the milliseconds of all layers; the baseline is dense weights, or a dense model per persona."""
    device = jax.devices()[0]
    for count in config.personas:
        if config.rows % count:
            raise InputError(f"personas {count}: rows ({config.rows}) must be a multiple of it")
    operands: list[Any] = [
        jax.ShapeDtypeStruct(shape, pick_dtypes(config.dtype)[0]) for shape in ((config.rows, 4096), (4096, 4096))
    ]
    print(choice(*operands))
    if config.tune:
        kernel = config.implementation if config.implementation != "auto" else kernel_for(device.platform, *operands)[0]
        print(f'("{kernel}", "{device.device_kind}"): {_best_blocks(config, kernel)},')
    measured = Measurements("kernels", device=device.device_kind)
    for count in config.personas:
        masked, dense = _all_layers(config, config.rows, count), _all_layers(config, config.rows, 0)
        each = [count * value for value in _all_layers(config, config.rows // count, 0)]
        name = f"decoding, {count} persona{'s' if count > 1 else ''}"
        measured.add(f"{name}: beside dense", "ms", masked, dense)
        measured.add(f"{name}: beside a model each", "ms", masked, each)
    if config.prefill:
        masked, dense = _all_layers(config, config.prefill, 1), _all_layers(config, config.prefill, 0)
        measured.add(f"prefill of {config.prefill}: beside dense", "ms", masked, dense)
    return measured


def _all_layers(config: BenchmarkConfig, rows: int, personas: int, blocks: Blocks | None = None) -> list[float]:
    """Returns the milliseconds of the products of all layers, ``repeats`` times; 0 personas are dense weights."""
    times = [
        [_LAYERS * number * value for value in _product(config, rows, shape, personas, blocks)]
        for shape, number in _SHAPES.items()
    ]
    return [sum(values) for values in zip(*times, strict=True)]


def _product(config: BenchmarkConfig, rows: int, shape: tuple[int, int], personas: int, blocks: Blocks | None) -> list[float]:
    """Returns the milliseconds of one product, averaged over a stack of kernels that is too large for a cache, unless divided."""
    inputs, outputs = (size // config.divide for size in shape)
    dtype = pick_dtypes(config.dtype)[0]
    stack = max(1, round(_WORKING_SET / (shape[0] * shape[1] * dtype.itemsize)))  # also if widths are divided
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (rows, inputs), dtype)
    w = jax.random.normal(keys[1], (stack, inputs, outputs), dtype)
    words = jax.random.bits(keys[2], (stack, personas, word_rows(inputs), outputs), jnp.uint16)
    ids = jnp.arange(rows, dtype=jnp.int32) % max(personas, 1)

    def one(_: None, each: tuple[Any, Any]) -> tuple[None, Any]:
        if not personas:
            return None, jnp.matmul(x, each[0], preferred_element_type=jnp.float32).astype(dtype)
        return None, masked_matmul(x, *each, ids, implementation=config.implementation, blocks=blocks)

    products = jax.jit(lambda w, words: jax.lax.scan(one, None, (w, words))[1])
    jax.block_until_ready(products(w, words))  # compiles
    times = []
    for _ in range(config.repeats):
        start = time.perf_counter()
        jax.block_until_ready(products(w, words))
        times.append(1e3 * (time.perf_counter() - start) / stack)
    return times


def _best_blocks(config: BenchmarkConfig, kernel: str) -> Blocks:
    if kernel not in _CANDIDATES:
        raise InputError(f"nothing to tune on {jax.devices()[0].platform}: there is no Pallas kernel for it")
    count = max(config.personas)
    return min(_CANDIDATES[kernel], key=lambda blocks: min(_all_layers(config, config.rows, count, blocks)))
