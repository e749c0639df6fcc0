"""Chooses the weights to remove by coordinate ascent on the gain of their removal minus the price of its damage.

For one kernel W [in, out] and removed weights Z (1: removed), let D = W * Z. The objective is

    sum_ij Z_ij gain_ij  -  price * 1/2 sum_j d_j (D' A D)_jj

with A = E[x x'] of the layer's inputs and d_j = E[(dL/dy_j)^2] at its outputs. The second sum is the damage: the expected loss
increase under Kronecker-factored Fisher information with a diagonal output factor (Martens and Grosse, 2015). Outputs are thus
independent, each a quadratic problem with one binary variable per input. The off-diagonal elements of A reward removals whose
errors cancel, as in Optimal Brain Surgeon (Hassibi and Stork, 1993), here without a weight update.
"""

import jax
import jax.numpy as jnp

_LARGEST_BLOCK = 8  # of 4 to 32 the fastest on a CPU, by up to two times


def choose(
    kernel: jax.Array, gain: jax.Array, inputs: jax.Array, outputs: jax.Array, price: jax.Array | float, sweeps: int = 1
) -> jax.Array:
    """Marks the weights to remove, starting from none; every change raises the objective.

    Inputs are visited in order, for all outputs at once. Blocks of inputs share one matrix product with A, as in SparseGPT
    (Frantar and Alistarh, 2023).

    Args:
      kernel: float32 [in, out].
      gain: of removing each weight alone, float32 [in, out]; minus infinity where a weight must stay.
      inputs: second moments A, float32 [in, in].
      outputs: squared gradients d, float32 [out].
      price: of a unit of damage, in units of gain.
      sweeps: number of visits to every weight.

    Returns:
      bool [in, out], True where the weight is removed.
    """
    rows = kernel.shape[0]
    size = max(block for block in range(1, _LARGEST_BLOCK + 1) if rows % block == 0)

    def visit(number: jax.Array, removed: jax.Array) -> jax.Array:
        start = number % (rows // size) * size

        def part(array: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(array, start, size)

        product = part(inputs) @ removed  # rows of A D
        within = jax.lax.dynamic_slice_in_dim(part(inputs), start, size, axis=1)
        block = _visit_block(part(kernel), part(gain), within, price * outputs, product, part(removed))
        return jax.lax.dynamic_update_slice_in_dim(removed, block, start, axis=0)

    removed = jax.lax.fori_loop(0, sweeps * (rows // size), visit, jnp.zeros_like(kernel))
    return removed != 0


def _visit_block(
    kernel: jax.Array, gain: jax.Array, inputs: jax.Array, outputs: jax.Array, product: jax.Array, removed: jax.Array
) -> jax.Array:
    """Chooses anew which weights of a block of inputs to remove, one input after another; returns the block's rows of D.

    The loop over rows is unrolled, so that XLA compiles it to one vectorised loop over outputs.
    """
    products, found = list(product), []
    for row, before in enumerate(removed):
        weight, own = kernel[row], inputs[row, row]
        others = products[row] - own * before
        damage = outputs * (weight * others + 0.5 * jnp.square(weight) * own)
        after = jnp.where(gain[row] > damage, weight, 0)
        for later in range(row + 1, len(products)):
            products[later] = products[later] + inputs[later, row] * (after - before)
        found.append(after)
    return jnp.stack(found)
