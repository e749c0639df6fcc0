"""Log-probabilities of the tokens of packed batches."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder

_STEP = 32


def most_marked(marks: Sequence[np.ndarray]) -> int:
    """Returns the most tokens that bool [B, T] marks in a row, rounded up so that few shapes compile."""
    most = max(int(marked.sum(axis=1).max()) for marked in marks)
    return min(marks[0].shape[1], -(-most // _STEP) * _STEP)


def places_of(marked: jax.Array, most: int) -> jax.Array:
    """Returns the places int [B, most] of the tokens that bool [B, T] marks, at most ``most`` a row; others fill a row up."""
    return jnp.argsort(~marked, axis=1, stable=True)[:, :most]


def token_log_probs(decoder: Decoder, params: Params, batch: Batch, places: jax.Array | None = None) -> jax.Array:
    """Returns the log-probability of each token given those before it in its text, float32 [B, T]; undefined where a text starts.

    Args:
      places: int [B, N], of which tokens; by default of all.
    """
    inputs = {"positions": batch.positions, "visible": batch.visible()}
    hidden = decoder.apply({"params": params}, batch.tokens, **inputs, method="hidden")
    return next_log_probs(decoder, params, jnp.asarray(hidden), batch, places)


def next_log_probs(
    decoder: Decoder, params: Params, hidden: jax.Array, batch: Batch, places: jax.Array | None = None
) -> jax.Array:
    """Returns ``token_log_probs`` from the batch's final hidden states [B, T, hidden]; only at ``places`` int [B, N] if given.

    Logits are formed a row at a time, and again on a backward pass: a whole batch of them would not fit into memory.
    """
    previous, tokens = batch.previous(), batch.tokens
    if places is not None:
        previous, tokens = (jnp.take_along_axis(jnp.asarray(each), places, axis=1) for each in (previous, tokens))
    before = jnp.take_along_axis(hidden, previous[..., None], axis=1)

    @jax.checkpoint
    def row(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, tokens = args
        logits = jnp.asarray(decoder.apply({"params": params}, hidden, method="logits"))
        return jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)

    return jax.lax.map(row, (before, tokens))
