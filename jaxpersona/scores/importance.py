"""Importance scores of weights: pure functions from a kernel [..., in, out] and statistics [..., in] to float32 [..., in, out].

Equation numbers are those of Ye et al., "Your Language Model Secretly Contains Personality Subnetworks", ICLR 2026. There, an
output is a row. Kernels here are stored (in, out), so the weights that compete for an output's budget lie along axis -2.
"""

import jax
import jax.numpy as jnp


def wanda(kernel: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the absolute weight times the activation strength of its input, |w_ij| * A_j (Eq. 3; Sun et al., 2024).

    Args:
      kernel: [..., in, out].
      strength: A [..., in], not negative.

    Returns:
      float32 [..., in, out].

    Raises:
      ValueError: if the shapes do not match.
    """
    if strength.shape != kernel.shape[:-1]:
        raise ValueError(f"strength has shape {strength.shape}, the kernel's inputs {kernel.shape[:-1]}")
    return jnp.abs(kernel.astype(jnp.float32)) * strength.astype(jnp.float32)[..., None]


def sparse(kernel: jax.Array, mean_square: jax.Array, damping: float) -> jax.Array:
    """Returns the optimal-brain-surgeon saliency w_ij^2 / [H^-1]_jj = w_ij^2 H_jj with H = diag(E h_j^2) + lambda I (Eq. 5).

    The paper prunes in blocks of 128 columns. With a diagonal H, blocks make no difference, as no removal changes another score.

    Args:
      kernel: [..., in, out].
      mean_square: E h_j^2 [..., in].
      damping: lambda as a share of the mean of the diagonal (SparseGPT: 0.01).

    Returns:
      float32 [..., in, out].
    """
    diagonal = mean_square + damping * jnp.mean(mean_square, axis=-1, keepdims=True)
    return jnp.square(kernel.astype(jnp.float32)) * diagonal[..., None]


def standardized_difference(mean: jax.Array, variance: jax.Array, eps: float, eps_inside_root: bool) -> jax.Array:
    """Returns the argument of phi in Eq. 8, (mu+ - mu-) / (sqrt(s+ + s-) + eps), float32 [in].

    Args:
      mean: [2, in], of the persona and of its opposite.
      variance: [2, in], likewise.
      eps: avoids division by zero.
      eps_inside_root: True divides by sqrt(s+ + s- + eps) instead.
    """
    spread = variance[0] + variance[1]
    return (mean[0] - mean[1]) / (jnp.sqrt(spread + eps) if eps_inside_root else jnp.sqrt(spread) + eps)


def contrastive_wanda(kernel: jax.Array, difference: jax.Array, temperature: float | None) -> jax.Array:
    """Returns |w_ij| * phi(z_j), float32 [..., in, out], where phi is softplus(z / temperature) or ReLU (Eq. 8).

    Args:
      kernel: [..., in, out].
      difference: z [..., in] from ``standardized_difference``.
      temperature: of the softplus; None for ReLU.
    """
    gate = jax.nn.relu(difference) if temperature is None else jax.nn.softplus(difference / temperature)
    return wanda(kernel, gate)


def contrastive_sparse(own: jax.Array, other: jax.Array) -> jax.Array:
    """Returns the difference of two personas' scores [..., in, out], each divided by its sum over the inputs (Eq. 9)."""
    own, other = (score / jnp.maximum(score.sum(axis=-2, keepdims=True), jnp.finfo(jnp.float32).tiny) for score in (own, other))
    return own - other


def column_norm(kernel: jax.Array) -> jax.Array:
    """Returns the L2 norm of all weights of an input, float32 [..., in, out], equal for all outputs; ignores activations."""
    norm = jnp.linalg.norm(kernel.astype(jnp.float32), axis=-1, keepdims=True)
    return jnp.broadcast_to(norm, kernel.shape)


def magnitude(kernel: jax.Array) -> jax.Array:
    """Returns the absolute weight, float32: a control, the same for every persona."""
    return jnp.abs(kernel.astype(jnp.float32))


def random(kernel: jax.Array, key: jax.Array) -> jax.Array:
    """Returns uniform noise, independent of weights and data: the control that every method has to beat."""
    return jax.random.uniform(key, kernel.shape)
