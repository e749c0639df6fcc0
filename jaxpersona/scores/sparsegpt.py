"""SparseGPT (Frantar and Alistarh, 2023): optimal-brain-surgeon pruning with the full Hessian, block by block.

For an output with weights w and H = E h h^T + lambda I, removing w_j costs w_j^2 / [H^-1]_jj if the remaining weights compensate
for it. Inputs are visited in order. With the upper Cholesky factor U of H^-1, U_jj^2 is [H^-1]_jj once all inputs before j are
settled, and an input's error e_j = (w_j - kept w_j) / U_jj moves later weights by -e_j U_j. Within each block of 128 inputs, the
cheapest weights are removed at once. The block budgets of an output add up to exactly K.
"""

import jax
import jax.numpy as jnp

from jaxpersona.ops import topk
from jaxpersona.ops.inverse_factor import inverse_factor

_BLOCK = 128


def saliency(kernel: jax.Array, hessian: jax.Array, damping: float) -> jax.Array:
    """Returns the cost w_j^2 / [H^-1]_jj of removing each weight alone, float32 [in, out].

    Args:
      kernel: [in, out].
      hessian: E h h^T of its inputs, [in, in].
      damping: lambda as a share of the mean of the Hessian's diagonal.
    """
    factor = _upper_factor(hessian, damping)
    return jnp.square(kernel.astype(jnp.float32)) / jnp.sum(jnp.square(factor), axis=0)[:, None]


def solve(kernel: jax.Array, hessian: jax.Array, keep: jax.Array, damping: float = 0.01) -> tuple[jax.Array, jax.Array]:
    """Prunes one kernel and updates the weights that remain.

    Args:
      kernel: [in, out].
      hessian: E h h^T of its inputs, [in, in].
      keep: number of weights to keep in every output, a scalar; a block keeps the difference of floor(keep * i / in) at its ends.
      damping: lambda as a share of the mean of the Hessian's diagonal.

    Returns:
      The mask, bool [in, out], and the updated weights, float32 [in, out], 0 where they are removed.
    """
    rows = kernel.shape[0]
    padding = -rows % _BLOCK
    factor = jnp.pad(_upper_factor(hessian, damping), ((0, padding), (0, padding)))
    factor = factor.at[jnp.arange(rows, rows + padding), jnp.arange(rows, rows + padding)].set(1)
    weights = jnp.pad(kernel.astype(jnp.float32), ((0, padding), (0, 0)))

    def block(state: tuple[jax.Array, jax.Array], start: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        weights, mask = state
        ends = jnp.minimum(jnp.stack([start, start + _BLOCK]), rows)
        share = keep * ends[1] // rows - keep * ends[0] // rows
        square = jax.lax.dynamic_slice(factor, (start, start), (_BLOCK, _BLOCK))
        chosen, settled, errors = _settle(jax.lax.dynamic_slice_in_dim(weights, start, _BLOCK), square, share)
        wide = jax.lax.dynamic_slice_in_dim(factor, start, _BLOCK)
        later = jnp.where(jnp.arange(rows + padding) >= start + _BLOCK, wide, 0)
        weights = weights - jnp.matmul(later.T, errors, precision=jax.lax.Precision.HIGHEST)
        weights = jax.lax.dynamic_update_slice_in_dim(weights, settled, start, 0)
        return (weights, jax.lax.dynamic_update_slice_in_dim(mask, chosen, start, 0)), None

    start = (weights, jnp.zeros(weights.shape, bool))
    (weights, mask), _ = jax.lax.scan(block, start, jnp.arange(0, rows + padding, _BLOCK))
    return mask[:rows], weights[:rows]


def _settle(weights: jax.Array, factor: jax.Array, keep: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the mask of one block [block, out], its updated weights, and the errors that move later blocks."""
    diagonal = jnp.diagonal(factor)
    mask = topk.top_k_mask(jnp.square(weights / diagonal[:, None]), keep)

    def step(weights: jax.Array, j: jax.Array) -> tuple[jax.Array, jax.Array]:
        error = jnp.where(mask[j], 0, weights[j]) / diagonal[j]
        return weights - factor[j][:, None] * error, error  # row j of an upper triangle: moves inputs j and later only

    moved, errors = jax.lax.scan(step, weights, jnp.arange(weights.shape[0]))
    return mask, jnp.where(mask, moved, 0), errors


def _upper_factor(hessian: jax.Array, damping: float) -> jax.Array:
    """Returns the upper triangular U with U^T U = (H + lambda I)^-1."""
    size = hessian.shape[0]
    strength = jnp.maximum(jnp.mean(jnp.diagonal(hessian)), 1e-20)  # keeps the Hessian of a site that is never active invertible
    damped = hessian + damping * strength * jnp.eye(size)
    return inverse_factor(damped)
