"""Applies SparseGPT to a stacked kernel, one layer after another, for resident and streamed models."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.scores.sparsegpt import solve


@jax.jit
def solve_kernel(kernel: jax.Array, hessian: jax.Array, keep: np.ndarray, damping: float) -> tuple[jax.Array, jax.Array]:
    """Returns mask (bool) and changed weights of a stacked kernel, [layer, in, out] each.

    Args:
      kernel: [layer, in, out].
      hessian: E h h^T of its inputs, [layer, in, in].
      keep: int [layer], number of weights that every output keeps.
      damping: as in ``solve``.
    """

    def layer(args: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        kernel, hessian, keep = args
        return solve(kernel, hessian, keep, damping)

    return jax.lax.map(layer, (kernel, hessian, jnp.asarray(keep)))
