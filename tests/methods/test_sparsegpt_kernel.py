"""SparseGPT of a stacked kernel is that of each layer."""

import jax.numpy as jnp
import numpy as np

from jaxpersona.methods.sparsegpt_kernel import solve_kernel
from jaxpersona.scores.sparsegpt import solve


def test_each_layer_is_solved_by_itself():
    rng = np.random.default_rng(0)
    kernel, samples = rng.normal(size=(2, 40, 5)), rng.normal(size=(2, 90, 40))
    kernel, hessian = jnp.asarray(kernel, jnp.float32), jnp.asarray(samples.swapaxes(1, 2) @ samples / 90, jnp.float32)
    keep = np.array([10, 25])
    masks, weights = solve_kernel(kernel, hessian, keep, 0.02)
    for layer in (0, 1):
        mask, changed = solve(kernel[layer], hessian[layer], jnp.asarray(keep[layer]), 0.02)
        np.testing.assert_array_equal(masks[layer], mask)
        np.testing.assert_allclose(weights[layer], changed, atol=1e-5)
        assert (masks[layer].sum(axis=0) == keep[layer]).all()
