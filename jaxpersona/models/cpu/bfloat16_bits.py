"""Compact parameters, for generating one text on a CPU: bfloat16 matrices stored as integer bits, uint16 [..., out, in].

A generated token reads every weight once, so its time is that of reading memory, and bfloat16 halves it. XLA on a CPU converts
bfloat16 one number at a time, at a tenth of that speed. But a bfloat16 is the upper half of a float32, and shifting integers is
fast. Kernels are transposed, because XLA fuses the shift into a product with a vector only if each output's weights are adjacent.
A model that was published in bfloat16 loses no precision. Measurements are in docs/performance.md.

Masks of several personas are stored as *removal bits*, uint8 [..., bytes, out, in]: bit p % 8 of byte p // 8 is set if persona p
removes the weight. Masking fuses into the product as well.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.core.tree import flatten, unflatten

_PIECES = 24


def is_compact(leaf: jax.Array) -> bool:
    """Returns whether a kernel or an embedding is compact."""
    return leaf.dtype == jnp.uint16


@jax.jit
def compact(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters with compact kernels, [..., out, in], and a compact embedding [vocab, hidden]."""
    leaves = flatten(params)
    for path, leaf in leaves.items():
        if path.endswith("/kernel"):
            leaves[path] = _round(jnp.swapaxes(leaf, -1, -2))
        elif path.endswith("/embedding"):
            leaves[path] = _round(leaf)
    return unflatten(leaves)


def _round(leaf: jax.Array) -> jax.Array:
    """Returns the bits of the nearest bfloat16, ties to even, for finite numbers."""
    bits = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(jnp.uint16)


def widen(leaf: jax.Array) -> jax.Array:
    """Converts a compact leaf to float32; returns other leaves unchanged."""
    if not is_compact(leaf):
        return leaf
    return jax.lax.bitcast_convert_type(leaf.astype(jnp.uint32) << 16, jnp.float32)


def matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Multiplies x [..., in] by a compact matrix [out, in]; returns float32 [..., out].

    A single row is multiplied as a vector, so that the shift fuses into the product.
    """
    rows = x.astype(jnp.float32) if x.size > x.shape[-1] else x.astype(jnp.float32).reshape(-1)
    return jnp.matmul(rows, widen(matrix.T)).reshape(*x.shape[:-1], -1)


def masked_matmul(
    x: jax.Array, matrix: jax.Array, removed: jax.Array, ids: jax.Array, gamma: jax.Array | None = None
) -> jax.Array:
    """Multiplies each sequence by the weights of its persona, as ``ops.masked_matmul``; one sequence after another.

    Args:
      x: [B, T, in].
      matrix: compact, [out, in].
      removed: removal bits [bytes, out, in].
      ids: int32 [B], persona of each sequence. Ids past the last bit keep all weights; negative ids skip the product and give
        zeros.
      gamma: float32 [B], share of its value that a removed weight keeps; None for 0.

    Returns:
      float32 [B, T, out].
    """
    bits = jnp.where(ids < 8 * len(removed), jnp.uint8(1) << (ids % 8).astype(jnp.uint8), jnp.uint8(0))
    soft = jnp.zeros(ids.shape) if gamma is None else gamma

    def product(rows: jax.Array, persona: jax.Array, bit: jax.Array, soft: jax.Array) -> jax.Array:
        weights = widen(matrix)
        left = jnp.float32(0) if gamma is None else jnp.where(soft > 0, soft * weights, 0)  # at gamma 0 a removed NaN becomes 0
        masked = jnp.where(removed[jnp.minimum(persona // 8, len(removed) - 1)] & bit != 0, left, weights)
        return jnp.matmul(rows[0] if len(rows) == 1 else rows, masked.T).reshape(len(rows), -1)

    def one(part: tuple[jax.Array, ...]) -> jax.Array:
        # A branch skips the product of sequences without a persona (empty rows of the engine).
        return jax.lax.cond(part[1] >= 0, product, lambda rows, *_: jnp.zeros((len(rows), len(matrix))), *part)

    return jax.lax.map(one, (x.astype(jnp.float32), ids, bits, soft))


def logits(x: jax.Array, embedding: jax.Array) -> jax.Array:
    """Multiplies x [..., hidden] by a compact embedding [vocab, hidden]; returns float32 [..., vocab].

    Processes the vocabulary in pieces: XLA would otherwise convert all of it to float32 before a loop over tokens, and then read
    twice the bytes.
    """
    pieces = next(count for count in range(_PIECES, 0, -1) if embedding.shape[0] % count == 0)
    parts = jax.lax.map(lambda piece: matmul(x, piece), embedding.reshape(pieces, -1, embedding.shape[1]))
    return jnp.moveaxis(parts, 0, -2).reshape(*x.shape[:-1], -1)
