"""Exactly K weights per output, the same ones on every backend.

Float32 scores are read as integers of the same order and the K-th largest of each output is found by bisection on its bits: 32
counting passes over half of them, no sort. Ties are broken by a second score if there is one, and then by the lower input index.
"""

import fractions

import jax
import jax.numpy as jnp


def budget(rows: int, sparsity: float, exact: bool = True) -> int:
    """K = floor((1 - sparsity) * rows) in exact decimal arithmetic, at least 1 (Eq. 4).

    Args:
      exact: False computes int(rows * (1 - sparsity)) in floating point, as some scripts do.

    >>> budget(10, 0.9), budget(10, 0.9, exact=False)
    (1, 0)
    """
    if not exact:
        return int(rows * (1 - sparsity))
    return max(1, int((1 - fractions.Fraction(str(sparsity))) * rows))


def ordered_bits(scores: jax.Array) -> jax.Array:
    """Unsigned integers in the order of float32 ``scores``; 0.0 and -0.0 are equal."""
    top = jnp.uint32(1 << 31)
    bits = jax.lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.uint32)
    bits = jnp.where(bits == top, 0, bits)  # -0.0; some backends would take a comparison of floats for subnormals as well
    return jnp.where(bits & top, ~bits, bits | top)


def top_k_mask(scores: jax.Array, keep: jax.Array, tie_break: jax.Array | None = None) -> jax.Array:
    """Marks the ``keep`` largest scores of every output.

    Args:
      scores: float [in, out], without NaN.
      keep: integer scalar or [out], each 0 to in.
      tie_break: float [in, out], decides between equal scores; what is equal in both goes to the lower input index.

    Returns:
      bool [in, out] with exactly ``keep`` True in each column.
    """
    keys = [ordered_bits(scores)] + ([] if tie_break is None else [ordered_bits(tie_break)])
    index = jnp.arange(scores.shape[0], dtype=jnp.uint32)[:, None]
    keys.append(jnp.broadcast_to(~index, scores.shape))
    chosen = jnp.zeros(scores.shape, bool)
    tied = jnp.ones(scores.shape, bool)
    need = jnp.broadcast_to(jnp.asarray(keep, jnp.int32), scores.shape[1:])
    state = _take(keys[0], chosen, tied, need)
    for key in keys[1:]:
        undecided = (state[2] != state[1].sum(axis=0)).any()
        state = jax.lax.cond(undecided, lambda state, key=key: _take(key, *state), lambda state: state, state)
    chosen, tied, need = state
    return chosen | (tied & (need > 0))


def block_top_k_mask(scores: jax.Array, keep: jax.Array, block: int) -> jax.Array:
    """Marks the largest scores among every ``block`` neighbouring inputs of every output.

    Args:
      scores: float [in, out]; the last block may be smaller.
      keep: integer [blocks], each at most the inputs of its block.
    """
    rows, columns = scores.shape
    padded = jnp.pad(scores, ((0, -rows % block), (0, 0)), constant_values=-jnp.inf)
    blocks = padded.reshape(-1, block, columns)
    return jax.vmap(top_k_mask)(blocks, keep).reshape(padded.shape)[:rows]


def _take(key: jax.Array, chosen: jax.Array, tied: jax.Array, need: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Chooses, per column, the tied entries whose key is above the ``need``-th largest; those equal to it stay tied.

    First by the upper 16 bits and then by the lower: vector units compare and count twice as many of half the width.
    """
    for half in ((key >> 16).astype(jnp.uint16), key.astype(jnp.uint16)):
        half = jnp.where(tied, half, 0)  # no threshold on trial is 0, so these never count
        threshold = _largest(half, need)
        above = half > threshold
        chosen, tied = chosen | above, tied & (half == threshold)
        need = need - above.sum(axis=0, dtype=jnp.int32)
    return chosen, tied, need


def _largest(key: jax.Array, need: jax.Array) -> jax.Array:
    """The ``need``-th largest uint16 of every column, 0 where there are not so many above 0."""
    count = jnp.uint16 if key.shape[0] < 1 << 16 else jnp.int32

    def halve(step: jax.Array, threshold: jax.Array) -> jax.Array:
        trial = threshold | (jnp.uint16(1 << 15) >> step.astype(jnp.uint16))
        enough = jnp.sum(key >= trial, axis=0, dtype=count) >= need.astype(count)
        return jnp.where(enough, trial, threshold)

    return jax.lax.fori_loop(0, 16, halve, jnp.zeros(need.shape, jnp.uint16))
