"""Rotary position embeddings."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.models.config import Rope

Array = jax.Array


def rope_frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Returns the angular frequency of each rotation plane, float32 [head_dim / 2]."""
    frequencies = rope.theta ** (-np.arange(0, head_dim, 2) / head_dim)
    if rope.kind == "linear":
        frequencies /= rope.factor
    elif rope.kind == "frequency_factors":
        frequencies /= np.asarray(rope.frequency_factors)
    elif rope.kind == "llama3":
        turns = rope.original_max_position * frequencies / (2 * np.pi)
        smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
        smooth = np.clip(smooth, 0.0, 1.0)
        frequencies *= (1 - smooth) / rope.factor + smooth
    return frequencies.astype(np.float32)


def rope_tables(rope: Rope, head_dim: int, positions: Array) -> tuple[Array, Array]:
    """Returns cosines [B, T, 1, 1, head_dim / 2] and sines [B, T, 1, 2, head_dim / 2] for int positions [B, T].

    The first of the two rows of sines is negated.
    """
    angles = positions[..., None, None, None].astype(jnp.float32) * rope_frequencies(rope, head_dim)
    return jnp.cos(angles), jnp.concatenate([-jnp.sin(angles), jnp.sin(angles)], axis=-2)


def rotate(x: Array, tables: tuple[Array, Array]) -> Array:
    """Applies the rotary embedding to heads x [B, T, H, head_dim], rotating the first half of the channels against the second.

    The halves are an axis that is reversed, because XLA on a CPU computes their concatenation one number at a time.
    """
    cos, sin = tables
    halves = x.astype(jnp.float32).reshape(*x.shape[:-1], 2, -1)
    return (halves * cos + jnp.flip(halves, -2) * sin).reshape(x.shape).astype(x.dtype)
