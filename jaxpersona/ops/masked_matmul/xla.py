"""The masked product in plain JAX: the reference, the default where there is no kernel, and what gradients come from."""

import jax
import jax.numpy as jnp

from jaxpersona.ops import bitpack

Array = jax.Array


def multiply(x: Array, w: Array, words: Array, ids: Array, gamma: Array | None) -> Array:
    """Masked product of sequences.

    At most one masked copy of ``w`` exists at a time: one for each sequence where there are no more of them than personas,
    otherwise one for each persona, through which all rows go and from which those of the persona are taken.

    Args:
      x: [B, T, K]; a sequence has one persona.
      w: [K, N] of the dtype of x.
      words: uint16 [P, word_rows(K), N].
      ids: int32 [B].
      gamma: float32 [B] in [0, 1], or None for 0.

    Returns:
      [B, T, N] of the dtype of x, summed in float32.
    """
    by_sequence = x.shape[0] <= words.shape[0]
    masked = _by_sequence(x, w, words, ids) if by_sequence else _by_persona(x, w, words, ids)
    if gamma is not None:
        soft = gamma[:, None, None]
        masked = jnp.where(soft > 0, (1 - soft) * masked + soft * _product(x, w), masked)  # a removed NaN stays out at 0
    return masked.astype(x.dtype)


def _product(x: Array, w: Array) -> Array:
    return jnp.matmul(x, w, preferred_element_type=jnp.float32)


def _fold(w: Array, words: Array) -> Array:
    return jnp.where(bitpack.unpack(words, w.shape[0]), w, 0)


def _by_sequence(x: Array, w: Array, words: Array, ids: Array) -> Array:
    nothing = jnp.zeros((x.shape[1], w.shape[1]), jnp.float32)

    @jax.checkpoint  # or the backward pass would keep the masked weights of all sequences
    def one(part: tuple[Array, Array]) -> Array:
        rows, persona = part
        valid = (persona >= 0) & (persona < words.shape[0])
        # A branch, so that a sequence without a persona (an empty row of the engine) takes no time.
        return jax.lax.cond(valid, lambda: _product(rows, _fold(w, words[persona])), lambda: nothing + 0 * persona)

    return jax.lax.map(one, (x, ids))


def _by_persona(x: Array, w: Array, words: Array, ids: Array) -> Array:
    @jax.checkpoint
    def add(masked: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        of_persona, persona = part
        own = (ids == persona)[:, None, None]
        # Chosen before the product as well: in the backward pass, a NaN weight of this persona times 0 would reach the others'
        # rows.
        return jnp.where(own, _product(jnp.where(own, x, 0), _fold(w, of_persona)), masked), None

    personas = jnp.arange(words.shape[0])
    start, _ = add(
        jnp.zeros((*x.shape[:2], w.shape[1]), jnp.float32), (words[0], personas[0])
    )  # varies as the operands do (shard_map)
    return jax.lax.scan(add, start, (words[1:], personas[1:]))[0]
