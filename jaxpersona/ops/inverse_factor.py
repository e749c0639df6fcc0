"""Computes the upper Cholesky factor of an inverse matrix, in a form that TPUs compile fast.

XLA unrolls a Cholesky factorisation and a triangular solve for TPUs into blocks of 128 rows: at 1,024 rows they compile for 13
seconds, at 14,336 for more than eleven minutes. There, one loop of a fixed body eliminates the blocks.
"""

import functools

import jax
import jax.numpy as jnp

Array = jax.Array
_BLOCK = 128


def inverse_factor(matrix: Array) -> Array:
    """Returns the upper triangular U with U^T U = matrix^-1, float32 [n, n]; NaN if the matrix is not positive definite."""
    return jax.lax.platform_dependent(matrix, tpu=by_elimination, default=_by_library)


def _by_library(matrix: Array) -> Array:
    reversed_factor = jnp.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]  # upper R with R R^T = matrix
    return jax.scipy.linalg.solve_triangular(reversed_factor, jnp.eye(matrix.shape[0]), lower=False)


def by_elimination(matrix: Array) -> Array:
    """Computes ``inverse_factor`` by Gaussian elimination of the reversed matrix A = L L^T beside the identity.

    Elimination turns [A, I] into [L^T, L^-1], block of rows by block of rows; U is the reverse of L^-1. Both halves share one
    array: once a block is eliminated, its columns of A are not needed, and those of L^-1 take their place.
    """
    size = matrix.shape[0]
    reversed_matrix = jax.scipy.linalg.block_diag(matrix[::-1, ::-1], jnp.eye(-size % _BLOCK))
    columns = jnp.arange(len(reversed_matrix))
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

    def eliminate(rows: Array, start: Array) -> tuple[Array, None]:
        block = jax.lax.dynamic_slice_in_dim(rows, start, _BLOCK)
        factor = jnp.linalg.cholesky(jax.lax.dynamic_slice_in_dim(block, start, _BLOCK, axis=1))
        inverse = jax.scipy.linalg.solve_triangular(factor, jnp.eye(_BLOCK), lower=True)
        block = jax.lax.dynamic_update_slice_in_dim(product(inverse, block), inverse, start, axis=1)
        later = jnp.where(columns >= start + _BLOCK, block, 0)
        rows = jnp.where(columns // _BLOCK == start // _BLOCK, 0, rows) - product(later.T, block)
        return jax.lax.dynamic_update_slice_in_dim(rows, block, start, axis=0), None

    rows, _ = jax.lax.scan(eliminate, reversed_matrix, columns[::_BLOCK])
    return rows[:size, :size][::-1, ::-1]
