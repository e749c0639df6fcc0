"""In which dtype parameters are held, and in which batches are read."""

import functools
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError

Dtype = Literal["auto", "float32", "bfloat16"]
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def pick_dtypes(dtype: Dtype) -> tuple[Any, Any]:
    """The dtype of parameters, and that of what is multiplied where batches of texts are read: all else has the parameters'.

    ``auto`` is bfloat16 for both on GPU and TPU. On a CPU parameters are float32, as products of single rows, which generation
    consists of, are slower in bfloat16 there; products of batches are twice as fast if the CPU multiplies bfloat16 itself.

    Raises:
      InputError: for an unknown dtype.
    """
    if dtype not in ("auto", "float32", "bfloat16"):
        raise InputError(f"dtype {dtype!r} is unknown; known: auto, bfloat16, float32")
    if dtype != "auto":
        return jnp.dtype(dtype), jnp.dtype(dtype)
    if jax.default_backend() != "cpu":
        return jnp.dtype("bfloat16"), jnp.dtype("bfloat16")
    return jnp.dtype("float32"), jnp.dtype("bfloat16" if cpu_multiplies_bfloat16() else "float32")


@functools.cache
def cpu_multiplies_bfloat16(cpuinfo: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has instructions for products of bfloat16; False where the system does not say."""
    if not cpuinfo.is_file():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return not _CPU_FLAGS.isdisjoint(flags.split())
