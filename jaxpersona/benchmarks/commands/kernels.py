"""Masked products at the shapes of a model's layers: decoding and prefill, beside dense weights and a model a persona."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.commands.shared_config import check_at_least
from jaxpersona.core.errors import InputError
from jaxpersona.ops.bitpack import word_rows
from jaxpersona.ops.masked_matmul import masked_matmul
from jaxpersona.ops.masked_matmul.block_sizes import Blocks

LAYERS = 32
SHAPES = {(4096, 4096): 2, (4096, 1024): 2, (4096, 14336): 2, (14336, 4096): 1}
"""Kernels [in, out] of a layer of Llama-3-8B, and how many there are of each."""
_WORKING_SET = 512e6  # bytes that are read before the same weights come round again, so that no cache holds them


@dataclasses.dataclass(frozen=True)
class Config:
    """Times masked_matmul over all linear layers of Llama-3-8B, or of a model smaller by a factor, on this process's device.

    Args:
      personas: distinct personas in a decoding batch
      rows: rows of a decoding batch
      prefill: tokens of a prompt of one persona; 0 skips it
      divide: how many times smaller each side of a kernel is than Llama-3-8B's; 1 wants 16 GB of device memory
      dtype: of weights and activations
      implementation: auto, xla, tpu or gpu
      tune: also try block sizes, and print the best as an entry for kernels/blocks.py
      repeats: how often each is timed, one after the other
      output: JSON file for the rows
    """

    personas: list[int] = dataclasses.field(default_factory=lambda: [1, 4, 8])
    rows: int = 16
    prefill: int = 2048
    divide: int = 1
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    implementation: Literal["auto", "xla", "tpu", "gpu"] = "auto"
    tune: bool = False
    repeats: int = 10
    output: str | None = None

    def __post_init__(self) -> None:
        for key in ("rows", "divide", "repeats"):
            check_at_least(1, getattr(self, key), key)
        for count in self.personas:
            if count < 1 or self.rows % count:
                raise InputError(f"personas {count}: rows ({self.rows}) must be a multiple of it")


def run(config: Config) -> list[Row]:
    """Rows ``kernels/...`` in milliseconds for all layers: ours masked, the baseline dense, and dense by persona."""
    device = jax.devices()[0]
    found = place(device.device_kind)
    if config.tune:
        print(f'"{device.device_kind}": {_best_blocks(config, device.platform)},')
    rows = []
    for count in config.personas:
        masked, dense = _step(config, config.rows, count), _step(config, config.rows, 0)
        apart = [count * value for value in _step(config, config.rows // count, 0)]
        rows.append(row(f"kernels/decoding, {count} personas: beside dense", masked, dense, "ms", **found))
        rows.append(row(f"kernels/decoding, {count} personas: beside a model each", masked, apart, "ms", **found))
    if config.prefill:
        masked, dense = _step(config, config.prefill, 1), _step(config, config.prefill, 0)
        rows.append(row(f"kernels/prefill of {config.prefill}: beside dense", masked, dense, "ms", **found))
    return rows


def _step(config: Config, rows: int, personas: int, blocks: Any = None) -> list[float]:
    """Milliseconds of the products of all layers, ``repeats`` times; no personas is dense."""
    total = [0.0] * config.repeats
    for (inputs, outputs), number in SHAPES.items():
        times = _product(config, rows, inputs // config.divide, outputs // config.divide, personas, blocks)
        total = [so_far + LAYERS * number * value for so_far, value in zip(total, times, strict=True)]
    return total


def _product(config: Config, rows: int, inputs: int, outputs: int, personas: int, blocks: Any) -> list[float]:
    """Milliseconds of one product, averaged over a stack of kernels too large for a cache."""
    dtype = jnp.dtype(config.dtype)
    stack = max(1, round(_WORKING_SET / (inputs * outputs * dtype.itemsize)))
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (rows, inputs), dtype)
    w = jax.random.normal(keys[1], (stack, inputs, outputs), dtype)
    words = jax.random.bits(keys[2], (stack, personas, word_rows(inputs), outputs), jnp.uint16)
    ids = jnp.arange(rows, dtype=jnp.int32) % max(personas, 1)

    def one(_: None, each: tuple[Any, Any]) -> tuple[None, Any]:
        if not personas:
            return None, jnp.matmul(x, each[0], preferred_element_type=jnp.float32).astype(dtype)
        return None, masked_matmul(x, *each, ids, implementation=config.implementation, blocks=blocks)

    product = jax.jit(lambda w, words: jax.lax.scan(one, None, (w, words))[1])
    return [1e3 * seconds / stack for seconds in _times(lambda: jax.block_until_ready(product(w, words)), config.repeats)]


def _times(call: Callable[[], Any], repeats: int) -> Iterator[float]:
    call()  # compiles
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        yield time.perf_counter() - start


def _best_blocks(config: Config, platform: str) -> Any:
    if platform not in ("tpu", "gpu"):
        raise InputError(f"nothing to tune on {platform}: there is no Pallas kernel for it")
    tries = {
        "tpu": [Blocks(256, inputs, outputs) for inputs, outputs in itertools.product((512, 1024, 2048), (256, 512, 1024))],
        "gpu": [Blocks(16, 256, outputs, splits) for outputs, splits in itertools.product((32, 64, 128), (1, 2, 4, 8))],
    }[platform]
    count = max(config.personas)
    return min(tries, key=lambda blocks: min(_step(config, config.rows, count, blocks)))
