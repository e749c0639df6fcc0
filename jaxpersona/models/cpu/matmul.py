"""Products of activations with a kernel, and their gradients, in the forms that a CPU computes quickly.

Of bfloat16 operands XLA multiplies [m, k] by [k, n] with a float32 result twice as fast as float32 ones on a CPU, but not with a
bfloat16 result, nor where an operand is to be transposed: that one it widens. Where two dimensions are summed over instead of one
it transposes by itself, before it multiplies, which takes little time; so gradients are written that way. On a GPU or TPU the
forms cost the same.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.models.cpu import bfloat16_bits

Array = jax.Array


def matmul(x: Array, kernel: Array, dtype: Any = None) -> Array:
    """x [..., in] @ kernel [in, out], summed in float32 and returned so.

    So are the gradients: by x from that by the result, rounded to the same dtype; by the kernel, if it is float32, without
    rounding what was summed.
    """
    if bfloat16_bits.is_compact(kernel):
        return bfloat16_bits.matmul(x, kernel)
    return _matmul(min(dtype or x.dtype, x.dtype, kernel.dtype, key=lambda each: jnp.dtype(each).itemsize), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _matmul(dtype: Any, x: Array, kernel: Array) -> Array:
    return jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32)


def _forward(dtype: Any, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _matmul(dtype, x, kernel), (x, kernel)


def _backward(dtype: Any, operands: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, kernel = operands
    narrow, slope = x.astype(dtype), slope.astype(dtype)
    by_x = jnp.einsum("...op,iop->...i", _halved(slope), _halved(kernel.astype(dtype)), preferred_element_type=jnp.float32)
    rows = narrow.reshape(-1, *narrow.shape[-2:]), slope.reshape(-1, *slope.shape[-2:])
    by_kernel = jnp.einsum("bti,bto->io", *rows, preferred_element_type=jnp.float32)
    return by_x.astype(x.dtype), by_kernel.astype(kernel.dtype)


_matmul.defvjp(_forward, _backward)


def _halved(array: Array) -> Array:
    """[..., out] as [..., out / 2, 2], so that out is summed over as two dimensions."""
    return array.reshape(*array.shape[:-1], -1, 2 - array.shape[-1] % 2)


@jax.custom_vjp
def probed(y: Array, probe: Array) -> Array:
    """y [B, T, out] as it is; the gradient by ``probe`` float32 [out] is that by y, squared and summed over B and T."""
    return y


def _probed_forward(y: Array, probe: Array) -> tuple[Array, None]:
    return y, None


def _probed_backward(_: None, slope: Array) -> tuple[Array, Array]:
    return slope, jnp.sum(jnp.square(slope.astype(jnp.float32)), axis=(0, 1))


probed.defvjp(_probed_forward, _probed_backward)
