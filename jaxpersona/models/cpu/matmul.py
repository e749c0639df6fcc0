"""Products of activations and kernels, and their gradients, in forms that XLA computes fast on a CPU.

On a CPU, XLA multiplies bfloat16 [m, k] by [k, n] twice as fast as float32, provided that the result is float32. That gain is
lost with a bfloat16 result, and with a transposed operand, which XLA converts to float32. For a product that sums over two
dimensions instead of one, XLA transposes the operand itself first, which takes little time. Gradients are therefore written as
such sums. On a GPU or TPU all forms cost the same.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.models.cpu import bfloat16_bits

Array = jax.Array


def matmul(x: Array, kernel: Array, dtype: Any = None) -> Array:
    """Returns x [..., in] @ kernel [in, out], float32 [..., out], summed in float32.

    Gradients are summed in float32 as well, from a cotangent rounded to the operands' dtype. The gradient with respect to a
    float32 kernel is not rounded after summation.

    Args:
      x: [..., in].
      kernel: [in, out], or compact, [out, in].
      dtype: to which wider operands are rounded; None is the narrower one of x and kernel.
    """
    if bfloat16_bits.is_compact(kernel):
        return bfloat16_bits.matmul(x, kernel)
    return _matmul(_narrowest(dtype or x.dtype, x.dtype, kernel.dtype), x, kernel)


def transposed_matmul(x: Array, matrix: Array, dtype: Any = None) -> Array:
    """Returns x [..., T, in] @ the transpose of a matrix [out, in], float32 [..., T, out]: the head of tied embeddings.

    Rounds and sums as ``matmul``. What is narrower than float32 is summed over two dimensions, and no gradient needs a transpose.

    Args:
      x: [..., T, in].
      matrix: [out, in], not compact.
      dtype: as for ``matmul``.
    """
    return _transposed(_narrowest(dtype or x.dtype, x.dtype, matrix.dtype), x, matrix)


def _narrowest(*dtypes: Any) -> Any:
    return min(dtypes, key=lambda each: jnp.dtype(each).itemsize)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _matmul(dtype: Any, x: Array, kernel: Array) -> Array:
    return jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32)


def _forward(dtype: Any, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _matmul(dtype, x, kernel), (x, kernel)


def _backward(dtype: Any, operands: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = operands
    narrow, grad = x.astype(dtype), grad.astype(dtype)
    grad_x = jnp.einsum("...op,iop->...i", _halved(grad), _halved(kernel.astype(dtype)), preferred_element_type=jnp.float32)
    rows = narrow.reshape(-1, *narrow.shape[-2:]), grad.reshape(-1, *grad.shape[-2:])
    grad_kernel = jnp.einsum("bti,bto->io", *rows, preferred_element_type=jnp.float32)
    return grad_x.astype(x.dtype), grad_kernel.astype(kernel.dtype)


_matmul.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transposed(dtype: Any, x: Array, matrix: Array) -> Array:
    x, matrix = x.astype(dtype), matrix.astype(dtype)
    if jnp.dtype(dtype).itemsize < 4 and x.size > x.shape[-1]:  # a vector is multiplied as fast as memory allows
        return jnp.einsum("...ip,oip->...o", _halved(x), _halved(matrix), preferred_element_type=jnp.float32)
    return jnp.matmul(x, matrix.T, preferred_element_type=jnp.float32)


def _transposed_forward(dtype: Any, x: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    return _transposed(dtype, x, matrix), (x, matrix)


def _transposed_backward(dtype: Any, operands: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, matrix = operands
    narrow, grad = x.astype(dtype), grad.astype(dtype)
    grad_x = jnp.matmul(grad, matrix.astype(dtype), preferred_element_type=jnp.float32)
    rows = grad.reshape(-1, *grad.shape[-2:]), narrow.reshape(-1, *narrow.shape[-2:])
    grad_matrix = jnp.einsum("bto,bti->oi", *rows, preferred_element_type=jnp.float32)
    return grad_x.astype(x.dtype), grad_matrix.astype(matrix.dtype)


_transposed.defvjp(_transposed_forward, _transposed_backward)


def _halved(array: Array) -> Array:
    """Reshapes [..., out] to [..., out / 2, 2] (odd: [..., out, 1]), so that a sum over out runs over two dimensions."""
    return array.reshape(*array.shape[:-1], -1, 2 - array.shape[-1] % 2)


@jax.custom_vjp
def probed(y: Array, probe: Array) -> Array:
    """Returns y [B, T, out] unchanged, with a gradient with respect to ``probe`` that is the squared gradient at y.

    Args:
      y: output of a linear layer.
      probe: float32 [out]. Its gradient is the square of the gradient with respect to y, summed over B and T.
    """
    return y


def _probed_forward(y: Array, probe: Array) -> tuple[Array, None]:
    return y, None


def _probed_backward(_: None, grad: Array) -> tuple[Array, Array]:
    return grad, jnp.sum(jnp.square(grad.astype(jnp.float32)), axis=(0, 1))


probed.defvjp(_probed_forward, _probed_backward)
