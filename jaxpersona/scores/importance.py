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


def sparse(kernel: jax.Array, mean_square: jax.Array, damping: float) -> jax.Array:
    """Eq. 5: optimal-brain-surgeon saliency w_ij^2 / [H^-1]_jj with H = diag(E h_j^2) + lambda I, which is w_ij^2 H_jj.

    The paper works in blocks of 128 columns; with a diagonal H no removal changes another score: they make no difference.

    Args:
      mean_square: E h_j^2 [..., in].
      damping: lambda as a share of the mean of the diagonal (SparseGPT: 0.01).
    """
    diagonal = mean_square + damping * jnp.mean(mean_square, axis=-1, keepdims=True)
    return jnp.square(kernel.astype(jnp.float32)) * diagonal[..., None]


def standardized_difference(mean: jax.Array, variance: jax.Array, eps: float, eps_inside_root: bool) -> jax.Array:
    """The argument of phi in Eq. 8, (mu+ - mu-) / (sqrt(s+ + s-) + eps), or with eps inside the root; float32 [in].

    Args:
      mean: [2, in], of the persona and of its opposite.
      variance: likewise.
    """
    spread = variance[0] + variance[1]
    return (mean[0] - mean[1]) / (jnp.sqrt(spread + eps) if eps_inside_root else jnp.sqrt(spread) + eps)


def contrastive_wanda(kernel: jax.Array, difference: jax.Array, temperature: float | None) -> jax.Array:
    """Eq. 8: |w_ij| * phi(z_j), where phi is softplus(z / temperature), or ReLU where there is no temperature.

    Args:
      difference: z [..., in] of ``standardized_difference``.
    """
    gate = jax.nn.relu(difference) if temperature is None else jax.nn.softplus(difference / temperature)
    return wanda(kernel, gate)


def contrastive_sparse(own: jax.Array, other: jax.Array) -> jax.Array:
    """Eq. 9: difference of the two personas' scores [..., in, out], each as a share of its output's sum."""
    own, other = (score / jnp.maximum(score.sum(axis=-2, keepdims=True), jnp.finfo(jnp.float32).tiny) for score in (own, other))
    return own - other


def column_norm(kernel: jax.Array) -> jax.Array:
    """L2 norm of all weights that read an input, the same for all outputs; blind to activations."""
    norm = jnp.linalg.norm(kernel.astype(jnp.float32), axis=-1, keepdims=True)
    return jnp.broadcast_to(norm, kernel.shape)


def magnitude(kernel: jax.Array) -> jax.Array:
    """Absolute weight: the same for every persona, a control."""
    return jnp.abs(kernel.astype(jnp.float32))


def random(kernel: jax.Array, key: jax.Array) -> jax.Array:
    """Uniform noise, independent of weights and data: the control every method has to beat."""
    return jax.random.uniform(key, kernel.shape)
