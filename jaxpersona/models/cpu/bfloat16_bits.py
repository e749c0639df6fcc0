"""Parameters for generating one text on a CPU: matrices as bfloat16, held as the integers of its bits, uint16 [..., out, in].

One token reads every weight once, so time is what reading them takes, and half the bytes take half of it. XLA converts bfloat16
on a CPU one number at a time, at a tenth of that speed; but a bfloat16 is the upper half of a float32, and to shift integers is
quick. Kernels are transposed: XLA fuses the shift into the product of a vector only if each output's weights lie side by side.
docs/performance.md has the figures. A model that was published in bfloat16 loses nothing.

Masks of several personas are held as *removal bits*, uint8 [..., bytes, out, in]: bit p % 8 of byte p // 8 is set where persona
p removes the weight, so that masking fuses into the product as well.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.core.tree import flatten, unflatten

_PIECES = 24


def is_compact(leaf: jax.Array) -> bool:
    """Whether a kernel or an embedding is held in this way."""
    return leaf.dtype == jnp.uint16


@jax.jit
def compact(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with all kernels transposed, and with them and the embedding rounded to bfloat16."""
    leaves = flatten(params)
    for path, leaf in leaves.items():
        if path.endswith("/kernel"):
            leaves[path] = _round(jnp.swapaxes(leaf, -1, -2))
        elif path.endswith("/embedding"):
            leaves[path] = _round(leaf)
    return unflatten(leaves)


def _round(leaf: jax.Array) -> jax.Array:
    """To the nearest bfloat16, ties to even, for finite numbers."""
    bits = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(jnp.uint16)


def widen(leaf: jax.Array) -> jax.Array:
    """What a compact leaf holds, as float32; other leaves as they are."""
    if not is_compact(leaf):
        return leaf
    return jax.lax.bitcast_convert_type(leaf.astype(jnp.uint32) << 16, jnp.float32)


def matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """x [..., in] times a compact matrix [out, in], float32 [..., out]; a single row as a vector, for the reason given above."""
    rows = x.astype(jnp.float32) if x.size > x.shape[-1] else x.astype(jnp.float32).reshape(-1)
    return jnp.matmul(rows, widen(matrix.T)).reshape(*x.shape[:-1], -1)


def masked_matmul(
    x: jax.Array, matrix: jax.Array, removed: jax.Array, ids: jax.Array, gamma: jax.Array | None = None
) -> jax.Array:
    """The product of sequences with the weights of each one's persona, as ``kernels.masked_matmul``; one sequence after another.

    Args:
      x: [B, T, in].
      matrix: compact, [out, in].
      removed: removal bits [bytes, out, in].
      ids: int32 [B]; past the last bit, all weights are kept; negative ones give zeros, in no time.
      gamma: float32 [B], the share of its strength a removed weight keeps; None for 0.

    Returns:
      float32 [B, T, out].
    """
    bits = jnp.where(ids < 8 * len(removed), jnp.uint8(1) << (ids % 8).astype(jnp.uint8), jnp.uint8(0))
    soft = jnp.zeros(ids.shape) if gamma is None else gamma

    def product(rows: jax.Array, persona: jax.Array, bit: jax.Array, soft: jax.Array) -> jax.Array:
        weights = widen(matrix)
        left = jnp.float32(0) if gamma is None else jnp.where(soft > 0, soft * weights, 0)  # a removed NaN stays out at 0
        masked = jnp.where(removed[jnp.minimum(persona // 8, len(removed) - 1)] & bit != 0, left, weights)
        return jnp.matmul(rows[0] if len(rows) == 1 else rows, masked.T).reshape(len(rows), -1)

    def one(part: tuple[jax.Array, ...]) -> jax.Array:
        # A branch, so that a sequence without a persona (an empty row of the engine) takes no time.
        return jax.lax.cond(part[1] >= 0, product, lambda rows, *_: jnp.zeros((len(rows), len(matrix))), *part)

    return jax.lax.map(one, (x.astype(jnp.float32), ids, bits, soft))


def logits(x: jax.Array, embedding: jax.Array) -> jax.Array:
    """x [..., hidden] times a compact embedding [vocab, hidden], float32 [..., vocab].

    A piece of the vocabulary at a time: XLA would widen all of it before a loop over tokens, and then read twice the bytes.
    """
    pieces = next(count for count in range(_PIECES, 0, -1) if embedding.shape[0] % count == 0)
    parts = jax.lax.map(lambda piece: matmul(x, piece), embedding.reshape(pieces, -1, embedding.shape[1]))
    return jnp.moveaxis(parts, 0, -2).reshape(*x.shape[:-1], -1)
