"""Packs boolean masks [..., in, out] into uint16 words along the input axis, one bit per weight.

Inputs are split into blocks of 256. Bit b of word ``block * 16 + j`` is input ``block * 256 + b * 16 + j``. Sixteen adjacent
words thus unpack by shifts alone to sixteen runs of adjacent rows, without a transpose, which suits vector units and the
masked-matmul kernels. Blocks of inputs can be sharded. Bits past the last input are 0.
"""

import jax
import jax.numpy as jnp

BLOCK = 256
WORD_BITS = 16
_LANES = BLOCK // WORD_BITS


def word_rows(rows: int) -> int:
    """Returns the number of words that hold the ``rows`` bits of one output.

    >>> word_rows(576)
    48
    """
    return -(-rows // BLOCK) * _LANES


@jax.jit
def pack(mask: jax.Array) -> jax.Array:
    """Packs bool [..., in, out] into uint16 [..., word_rows(in), out]."""
    *lead, rows, columns = mask.shape
    padding = -rows % BLOCK
    mask = jnp.pad(mask, [(0, 0)] * len(lead) + [(0, padding), (0, 0)])
    bits = mask.reshape(*lead, -1, WORD_BITS, _LANES, columns).astype(jnp.uint16)
    words = bits[..., 0, :, :]
    for place in range(1, WORD_BITS):  # unrolled: XLA on CPUs does not vectorise a sum along a middle axis
        words = words | (bits[..., place, :, :] << place)
    return words.reshape(*lead, word_rows(rows), columns)


def unpack(words: jax.Array, rows: int) -> jax.Array:
    """Inverts ``pack``: unpacks uint16 [..., word_rows(rows), out] into bool [..., rows, out]."""
    *lead, _, columns = words.shape
    place = jnp.arange(WORD_BITS, dtype=jnp.uint16)[:, None, None]
    blocks = words.reshape(*lead, -1, 1, _LANES, columns)
    bits = (blocks >> place) & jnp.uint16(1)
    return bits.reshape(*lead, -1, columns)[..., :rows, :].astype(bool)
