"""One bit per weight: packing boolean kernels [..., in, out] into uint16 words along the input axis.

Inputs are cut into blocks of 256; bit b of word ``block * 16 + j`` stands for input ``block * 256 + b * 16 + j``. Sixteen
neighbouring words then unpack to sixteen runs of neighbouring rows by shifts alone, without a transpose, which is what
vector units and the masked-matmul kernels want; blocks of inputs can be sharded. Inputs past the last one are bits that stay 0.
"""

import jax
import jax.numpy as jnp

BLOCK = 256
WORD_BITS = 16
_LANES = BLOCK // WORD_BITS


def word_rows(rows: int) -> int:
    """Number of words that hold one output's ``rows`` bits.

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
    for place in range(1, WORD_BITS):  # written out: XLA on CPUs makes no vector code of a sum along a middle axis
        words = words | (bits[..., place, :, :] << place)
    return words.reshape(*lead, word_rows(rows), columns)


def unpack(words: jax.Array, rows: int) -> jax.Array:
    """The bool [..., rows, out] that ``pack`` made ``words`` from."""
    *lead, _, columns = words.shape
    place = jnp.arange(WORD_BITS, dtype=jnp.uint16)[:, None, None]
    blocks = words.reshape(*lead, -1, 1, _LANES, columns)
    bits = (blocks >> place) & jnp.uint16(1)
    return bits.reshape(*lead, -1, columns)[..., :rows, :].astype(bool)
