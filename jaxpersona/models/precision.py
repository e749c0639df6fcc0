"""Chooses the dtypes of parameters and of matrix products."""

import functools
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError

Dtype = Literal["auto", "float32", "bfloat16"]
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def pick_dtypes(dtype: Dtype) -> tuple[Any, Any]:
    """Returns the parameter dtype and the batched-matmul dtype; everything else is computed in the parameter dtype.

    ``auto`` is bfloat16 for both on GPU and TPU. On a CPU, parameters are float32, because products of single rows, as in
    generation, are slower in bfloat16. Products of batches are twice as fast in bfloat16 if the CPU has instructions for it.

    Args:
      dtype: ``auto``, or the dtype of both.

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
    """Returns whether the CPU has instructions for bfloat16 products; False if the system does not tell."""
    if not cpuinfo.is_file():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return not _CPU_FLAGS.isdisjoint(flags.split())
