"""Exactly K weights per output, the same ones on every backend.

Float32 scores are read as integers of the same order and a threshold for each output is found by bisection on its bits: at most
32 counting passes over half of them, no sort. Ties are broken by a second score if there is one, and then by the lower input
index. What is called several times over is jitted by itself, so that it is traced and lowered once for each shape.
"""

import fractions
import functools
import operator

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


@jax.jit
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
    return _choose(keys, jnp.broadcast_to(jnp.asarray(keep, jnp.int32), scores.shape[1:]))


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


def _choose(keys: list[jax.Array], need: jax.Array) -> jax.Array:
    """Marks the ``need`` largest keys of every column; among those equal in the first of ``keys``, the next decides."""
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
    """Thresholds uint32 [out] that the ``need`` largest of every column reach, and how many do, int32 [out].

    Those are more than ``need`` only where keys are equal; all thresholds are then the ``need``-th largest keys themselves, and 0
    where there are not so many above 0. First the upper 16 bits are sought and then the lower: vector units compare and count
    twice as many of half the width.
    """
    upper = (key >> 16).astype(jnp.uint16)
    first, reached = _half_threshold(upper, need, jnp.full(need.shape, len(key)))
    above = _count(upper > first)
    lower = jnp.where(upper == first, key.astype(jnp.uint16), 0)  # no threshold on trial is 0, so these never count
    second, rest = _half_threshold(lower, need - above, reached - above)
    return (first.astype(jnp.uint32) << 16) | second, above + rest


def _half_threshold(key: jax.Array, need: jax.Array, reached: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As ``_threshold``, of uint16 keys, given how many reach 0; ends as soon as each column has what it needs."""

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
    """How many are True in every column, int32.

    Eighths of the rows are added up before columns are: XLA on CPUs goes to memory for every row of a sum along the first axis.
    """
    rows, columns = marked.shape
    number = jnp.uint16 if rows < 1 << 16 else jnp.int32
    eighths = jnp.pad(marked, ((0, -rows % 8), (0, 0))).astype(number).reshape(8, -1, columns)
    some = functools.reduce(operator.add, (eighths[part] for part in range(8)))
    return jnp.sum(some, axis=0, dtype=number).astype(jnp.int32)
