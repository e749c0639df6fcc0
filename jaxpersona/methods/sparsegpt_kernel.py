"""SparseGPT on a stacked kernel, one layer after another: shared by the resident and the streamed form."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.scores.sparsegpt import solve


@jax.jit
def solve_kernel(kernel: jax.Array, hessian: jax.Array, keep: np.ndarray, damping: float) -> tuple[jax.Array, jax.Array]:
    """Returns mask and changed weights [layer, in, out] of a stacked kernel.

    Args:
      kernel: [layer, in, out].
      hessian: E h h^T of its inputs, [layer, in, in].
      keep: number of weights every output keeps, int [layer].
      damping: as for ``solve``.
    """

    def layer(args: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        kernel, hessian, keep = args
        return solve(kernel, hessian, keep, damping)

    return jax.lax.map(layer, (kernel, hessian, jnp.asarray(keep)))
