"""Products and their gradients agree with JAX's, and are formed in the documented dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.models.cpu.matmul import matmul, transposed_matmul


def operands(outputs=6, rows=(2, 3), seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((*rows, 5), (5, outputs), (*rows, outputs))
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


@pytest.mark.parametrize("outputs", [1, 5, 6])
@pytest.mark.parametrize("rows", [(4,), (2, 3), (1, 4)])
def test_gradients_are_those_of_a_plain_product(outputs, rows):
    x, kernel, slope = operands(outputs, rows)
    found, back = jax.vjp(matmul, x, kernel)
    expected, expected_back = jax.vjp(jnp.matmul, x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(back(slope), expected_back(slope), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel_dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_multiplied_is_rounded_and_what_is_summed_is_not(kernel_dtype):
    x, kernel, slope = operands()
    kernel = kernel.astype(kernel_dtype)
    found, back = jax.vjp(lambda x, kernel: matmul(x, kernel, jnp.bfloat16), x, kernel)
    a, b, s = (np.asarray(array.astype(jnp.bfloat16), np.float64) for array in (x, kernel, slope))
    by_x, by_kernel = back(slope)
    np.testing.assert_allclose(found, a @ b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_x, s @ b.T, rtol=1e-5, atol=1e-5)
    if kernel_dtype == jnp.float32:
        np.testing.assert_allclose(by_kernel, np.einsum("bti,bto->io", a, s), rtol=1e-5, atol=1e-5)
    assert found.dtype == by_x.dtype == jnp.float32 and by_kernel.dtype == kernel_dtype


@pytest.mark.parametrize("rows", [(4,), (2, 3), (1,)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_transposed_product_is_the_product_with_the_transpose(dtype, rows):
    x, kernel, slope = operands(6, rows)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    found, back = jax.vjp(lambda x, matrix: transposed_matmul(x, matrix), x, kernel.T)
    expected, expected_back = jax.vjp(matmul, x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    by_x, by_matrix = back(slope)
    expected_by_x, expected_by_kernel = expected_back(slope)
    tolerance = {jnp.float32: 1e-5, jnp.bfloat16: 1e-2}[dtype]  # of the last rounding
    for ours, theirs in ((by_x, expected_by_x), (by_matrix.T, expected_by_kernel)):
        assert ours.dtype == theirs.dtype == dtype
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs.astype(jnp.float32), rtol=tolerance, atol=tolerance)


def test_the_narrower_dtype_is_multiplied_by_default():
    x, kernel, _ = operands()
    np.testing.assert_array_equal(matmul(x, kernel.astype(jnp.bfloat16)), matmul(x, kernel.astype(jnp.bfloat16), jnp.bfloat16))
    assert not np.array_equal(matmul(x, kernel), matmul(x, kernel, jnp.bfloat16))
    np.testing.assert_array_equal(matmul(x, kernel), matmul(x, kernel, jnp.float32))
