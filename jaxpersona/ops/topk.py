"""Exact top-k selection per output, identical on every backend.

Float32 scores are reinterpreted as integers of the same order. The threshold of each output is found by bisection on its bits:
at most 32 counting passes over 16-bit halves, without sorting. Ties are broken by an optional second score and then by the lower
input index. Functions that are called repeatedly are jitted on their own, so that each shape is traced and lowered once.
"""

import fractions
import functools
import operator

import jax
import jax.numpy as jnp


def budget(rows: int, sparsity: float, exact: bool = True) -> int:
    """Returns K = floor((1 - sparsity) * rows), at least 1, computed exactly in decimals (Eq. 4).

    Args:
      rows: number of inputs of an output.
      sparsity: share of weights to remove, in [0, 1).
      exact: False computes int(rows * (1 - sparsity)) in floating point, as the authors' scripts do.

    >>> budget(10, 0.9), budget(10, 0.9, exact=False)
    (1, 0)
    """
    if not exact:
        return int(rows * (1 - sparsity))
    return max(1, int((1 - fractions.Fraction(str(sparsity))) * rows))


def ordered_bits(scores: jax.Array) -> jax.Array:
    """Maps float32 ``scores`` to uint32 of the same order; 0.0 and -0.0 become equal."""
    top = jnp.uint32(1 << 31)
    bits = jax.lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.uint32)
    bits = jnp.where(bits == top, 0, bits)  # -0.0; as floats, subnormals would equal 0 on some backends
    return jnp.where(bits & top, ~bits, bits | top)


@jax.jit
def top_k_mask(scores: jax.Array, keep: jax.Array, tie_break: jax.Array | None = None) -> jax.Array:
    """Marks the ``keep`` largest scores of every output.

    Args:
      scores: float [in, out], without NaN.
      keep: integer scalar or [out], each 0 to in.
      tie_break: float [in, out], decides between equal scores; if these are equal too, the lower input index wins.

    Returns:
      bool [in, out] with exactly ``keep`` True in each column.
    """
    keys = [ordered_bits(scores)] + ([] if tie_break is None else [ordered_bits(tie_break)])
    index = jnp.arange(scores.shape[0], dtype=jnp.uint32)[:, None]
    keys.append(jnp.broadcast_to(~index, scores.shape))
    return _choose(keys, jnp.broadcast_to(jnp.asarray(keep, jnp.int32), scores.shape[1:]))


def block_top_k_mask(scores: jax.Array, keep: jax.Array, block: int) -> jax.Array:
    """Marks the largest scores of every output within each block of ``block`` adjacent inputs.

    Args:
      scores: float [in, out].
      keep: integer [blocks], how many to mark in each block, at most its number of inputs.
      block: inputs per block; the last block may be smaller.

    Returns:
      bool [in, out].
    """
    rows, columns = scores.shape
    padded = jnp.pad(scores, ((0, -rows % block), (0, 0)), constant_values=-jnp.inf)
    blocks = padded.reshape(-1, block, columns)
    return jax.vmap(top_k_mask)(blocks, keep).reshape(padded.shape)[:rows]


def _choose(keys: list[jax.Array], need: jax.Array) -> jax.Array:
    """Marks the ``need`` largest of every column, ordered by the first key and, where that ties, by the next."""
    key, *others = keys
    threshold, reached = _threshold(key, need)
    enough = key >= threshold
    if not others:
        return enough

    def by_others() -> jax.Array:
        above, tied = key > threshold, key == threshold
        return above | _choose([jnp.where(tied, other, 0) for other in others], need - _count(above))

    return jax.lax.cond((reached != need).any(), by_others, lambda: enough)


@jax.jit
def _threshold(key: jax.Array, need: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns a threshold per column, uint32 [out], and the number of keys that reach it, int32 [out].

    At least ``need`` keys reach it. More do only if keys tie; then every column's threshold is its ``need``-th largest key, or 0
    if fewer keys are above 0. The upper 16 bits are searched before the lower ones, because vector units compare and count twice
    as many numbers of half the width.
    """
    upper = (key >> 16).astype(jnp.uint16)
    first, reached = _half_threshold(upper, need, jnp.full(need.shape, len(key)))
    above = _count(upper > first)
    lower = jnp.where(upper == first, key.astype(jnp.uint16), 0)  # trial thresholds are above 0, so zeros are never counted
    second, rest = _half_threshold(lower, need - above, reached - above)
    return (first.astype(jnp.uint32) << 16) | second, above + rest


def _half_threshold(key: jax.Array, need: jax.Array, reached: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the same as ``_threshold`` for uint16 keys; stops as soon as ``need`` keys remain in every column.

    Args:
      key: uint16 [in, out].
      need: int32 [out].
      reached: int32 [out], number of keys that reach threshold 0.
    """

    def undecided(state: tuple[jax.Array, ...]) -> jax.Array:
        bit, _, reached = state
        return (bit > 0) & (reached != need).any()

    def halve(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        bit, threshold, reached = state
        trial = threshold | bit
        count = _count(key >= trial)
        enough = count >= need
        return bit >> 1, jnp.where(enough, trial, threshold), jnp.where(enough, count, reached)

    start = jnp.uint16(1 << 15), jnp.zeros(need.shape, jnp.uint16), reached
    _, threshold, reached = jax.lax.while_loop(undecided, halve, start)
    return threshold, reached


def _count(marked: jax.Array) -> jax.Array:
    """Returns the number of True values in every column, int32 [out].

    Adds eight slices of the rows before it sums columns: XLA on CPUs accesses memory for every row of a sum along the first axis.
    """
    rows, columns = marked.shape
    number = jnp.uint16 if rows < 1 << 16 else jnp.int32
    eighths = jnp.pad(marked, ((0, -rows % 8), (0, 0))).astype(number).reshape(8, -1, columns)
    some = functools.reduce(operator.add, (eighths[part] for part in range(8)))
    return jnp.sum(some, axis=0, dtype=number).astype(jnp.int32)
