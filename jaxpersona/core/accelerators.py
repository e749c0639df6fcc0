"""What devices can do at most: arithmetic, memory and links, as published, or measured where the device is none of those."""

import dataclasses
import functools
import math
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

GB = 10**9


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A device's limits.

    Attributes:
      name: of the kind of device.
      flops: floating-point operations a second, in matrix products of bfloat16.
      flops_float32: the same of float32 as JAX multiplies it by default (TF32 on GPUs, bfloat16 on TPUs).
      bytes_per_second: to and from its own memory.
      memory_bytes: of its own memory; None is not known.
      link_bytes_per_second: that it can send to the other devices of a host or slice, all links together.
      is_measured: whether the numbers were measured just now, and are therefore no upper bounds.
    """

    name: str
    flops: float
    flops_float32: float
    bytes_per_second: float
    memory_bytes: int | None
    link_bytes_per_second: float
    is_measured: bool = False


KNOWN = {
    "h100": Accelerator("H100", 989e12, 494e12, 3.35e12, 80 * GB, 450e9),
    "h200": Accelerator("H200", 989e12, 494e12, 4.8e12, 141 * GB, 450e9),
    "a100": Accelerator("A100", 312e12, 156e12, 2.04e12, 80 * GB, 300e9),
    "tpu v4": Accelerator("TPU v4", 275e12, 275e12, 1.228e12, 32 * GB, 300e9),
    "tpu v5 lite": Accelerator("TPU v5e", 197e12, 197e12, 0.819e12, 16 * GB, 200e9),
    "tpu v5p": Accelerator("TPU v5p", 459e12, 459e12, 2.765e12, 95 * GB, 600e9),
    "tpu v6 lite": Accelerator("TPU v6e", 918e12, 918e12, 1.64e12, 32 * GB, 448e9),
}
"""By what ``jax.Device.device_kind`` holds, in small letters: peaks of NVIDIA's data sheets (SXM, without sparsity; a link's one
direction) and of the Cloud TPU documentation."""
_ALIASES = {"tpu v5e": "tpu v5 lite", "tpu v6e": "tpu v6 lite", "tpu v5": "tpu v5p"}


def this_accelerator(measure: bool = True) -> Accelerator:
    """The kind of device that JAX uses by default: known, or measured for a fraction of a second.

    Args:
      measure: False leaves the rates of an unknown kind out.
    """
    device = jax.local_devices()[0]
    kind = device.device_kind.lower()
    kind = _ALIASES.get(kind, kind)
    known = next((spec for name, spec in KNOWN.items() if name in kind), None)
    spec = known or (_measured(device.device_kind) if measure else _unmeasured(device.device_kind))
    return dataclasses.replace(spec, memory_bytes=_memory_bytes(device) or spec.memory_bytes)


def _memory_bytes(device: jax.Device) -> int | None:
    """What JAX may use of a device's memory; of a CPU, of this machine's."""
    if device.platform == "cpu":
        return host_memory_bytes()
    return (device.memory_stats() or {}).get("bytes_limit")


def host_memory_bytes(limit: pathlib.Path = pathlib.Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """The machine's memory, or what its container may use; None where neither is known."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(found, int(text)) if text.isdigit() else found


def _unmeasured(name: str) -> Accelerator:
    return Accelerator(name, math.nan, math.nan, math.nan, None, math.nan)


@functools.cache
def _measured(name: str) -> Accelerator:
    rates = {dtype: _product_flops(dtype) for dtype in (jnp.bfloat16, jnp.float32)}
    copied = _bytes_per_second()
    return Accelerator(name, rates[jnp.bfloat16], rates[jnp.float32], copied, None, copied, is_measured=True)


def _product_flops(dtype: Any, size: int = 1024) -> float:
    """Operations a second in products of bfloat16 or float32 that are summed in float32."""
    matrix = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32))
    return 2 * size**3 / _fastest(lambda: product(matrix))


def _bytes_per_second(size: int = 2**25) -> float:
    """Read and written by a step that works in place: fresh memory costs a CPU more than the traffic."""
    arrays = [jnp.ones(size, jnp.float32)]
    double = jax.jit(lambda a: 2 * a, donate_argnums=0)

    def step() -> jax.Array:
        arrays[0] = double(arrays[0])
        return arrays[0]

    return 8 * size / _fastest(step)


def _fastest(work: Callable[[], Any], times: int = 3) -> float:
    """Seconds of the fastest of several runs after a first."""
    jax.block_until_ready(work())
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - start)
    return min(seconds)
