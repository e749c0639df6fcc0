"""Computes log-probabilities of the tokens in packed batches."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder

_STEP = 32
_MOST_LOGITS = 2**24  # of one program step: 64 MiB


def most_marked(marks: Sequence[np.ndarray]) -> int:
    """Returns the largest number of tokens that any mask bool [B, T] marks in a row, rounded up so that few shapes compile."""
    most = max(1, *(int(marked.sum(axis=1).max()) for marked in marks))  # ``next_log_probs`` needs a token
    return min(marks[0].shape[1], -(-most // _STEP) * _STEP)


def places_of(marked: jax.Array, most: int) -> jax.Array:
    """Returns the indices int [B, most] of the tokens that bool [B, T] marks in each row, padded with those of other tokens."""
    return jnp.argsort(~marked, axis=1, stable=True)[:, :most]


def token_log_probs(decoder: Decoder, params: Params, batch: Batch, places: jax.Array | None = None) -> jax.Array:
    """Returns the log-probability of each token given the earlier ones of its text, float32 [B, T].

    The value of the first token of a text is undefined.

    Args:
      decoder: of the model.
      params: of the decoder.
      batch: the tokens.
      places: int [B, N], indices of the tokens to evaluate, for a result [B, N]; None evaluates all.
    """
    inputs = {"positions": batch.positions, "visible": batch.visible()}
    hidden = decoder.apply({"params": params}, batch.tokens, **inputs, method="hidden")
    return next_log_probs(decoder, params, jnp.asarray(hidden), batch, places)


def next_log_probs(
    decoder: Decoder, params: Params, hidden: jax.Array, batch: Batch, places: jax.Array | None = None
) -> jax.Array:
    """Returns ``token_log_probs`` from the batch's final hidden states [B, T, hidden]; only at ``places`` int [B, N] if given.

    Computes logits one row at a time, or a part of it if the vocabulary is large, and again in a backward pass, because those of
    a whole batch would not fit into memory.
    """
    previous, tokens = batch.previous(), batch.tokens
    if places is not None:
        previous, tokens = (jnp.take_along_axis(jnp.asarray(each), places, axis=1) for each in (previous, tokens))
    before = jnp.take_along_axis(hidden, previous[..., None], axis=1)

    @jax.checkpoint
    def part(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, tokens = args
        logits = jnp.asarray(decoder.apply({"params": params}, hidden, method="logits"))
        return jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)

    length = _length_of_part(tokens.shape[1], decoder.config.vocab_size)
    parts = before.reshape(-1, length, before.shape[-1]), tokens.reshape(-1, length)
    return jax.lax.map(part, parts).reshape(tokens.shape)


def _length_of_part(length: int, vocab_size: int) -> int:
    """Returns ``length``, halved until the logits of so many positions are few enough, or it is odd.

    >>> _length_of_part(128, 49152), _length_of_part(128, 262144)
    (128, 64)
    """
    while length * vocab_size > _MOST_LOGITS and length % 2 == 0:
        length //= 2
    return length
