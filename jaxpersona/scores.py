"""Importance scores of weights: pure functions from a kernel [..., in, out] and statistics [..., in] to float32 [..., in, out].

Equation numbers are those of Ye et al., "Your Language Model Secretly Contains Personality Subnetworks", ICLR 2026. There an
output is a row; kernels here are stored (in, out), so the weights that compete for an output's budget lie along axis -2.
"""

import jax
import jax.numpy as jnp


def wanda(kernel: jax.Array, strength: jax.Array) -> jax.Array:
    """Eq. 3: absolute weight times activation strength of its input, |w_ij| * A_j (Sun et al., 2024).

    Args:
      kernel: [..., in, out].
      strength: [..., in], not negative.
    """
    if strength.shape != kernel.shape[:-1]:
        raise ValueError(f"strength has shape {strength.shape}, the kernel's inputs {kernel.shape[:-1]}")
    return jnp.abs(kernel.astype(jnp.float32)) * strength.astype(jnp.float32)[..., None]


def magnitude(kernel: jax.Array) -> jax.Array:
    """Absolute weight: the same for every persona, a control."""
    return jnp.abs(kernel.astype(jnp.float32))


def random(kernel: jax.Array, key: jax.Array) -> jax.Array:
    """Uniform noise, independent of weights and data: the control every method has to beat."""
    return jax.random.uniform(key, kernel.shape)
