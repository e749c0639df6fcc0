"""The engine's three compiled functions: read a prompt, put what it left into a row, and give every row its next token.

All shapes are fixed but the prompt's, which comes in a few widths. The last position of the cache is scratch: rows that sit a
pass out write there, and nothing reads it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxpersona.core.tree import Params
from jaxpersona.models.cached_forward import Form, empty_cache_for, form_of, next_logits
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import Decoder, Personas, compute_dtype
from jaxpersona.models.kv_cache import cache_length
from jaxpersona.models.sampling import Settings, sample, token_keys, tokens_seen

Array = jax.Array


class Rows(NamedTuple):
    """What a step needs to know of each row, arrays [B].

    Attributes:
      positions: int32, of the token that goes in (the last of the prompt, or the newest one).
      numbers: int32, which new token comes out, from 0.
      seeds: uint32.
      settings: how it is drawn.
    """

    positions: Array
    numbers: Array
    seeds: Array
    settings: Settings


class State(NamedTuple):
    """What stays on the device from step to step.

    Attributes:
      cache: k and v as in ``cache.empty_cache``, of length + 1, of all layers or of each.
      seen: bool [row, vocab], the tokens of each row's text.
    """

    cache: Any
    seen: Array


def empty_state(form: Form, config: ModelConfig, rows: int, length: int, dtype: Any) -> State:
    """State for so many rows of so many positions, under parameters of that form."""
    return State(empty_cache_for(form, config, rows, length + 1, dtype), jnp.zeros((rows, config.vocab_size), bool))


@functools.partial(jax.jit, static_argnums=0)
def prefill(
    decoder: Decoder, params: Params, masks: Any, personas: Personas | None, tokens: Array, rows: Rows
) -> tuple[State, Array]:
    """Reads one prompt, tokens int32 [1, W] padded at the end; returns its state, of W positions, and its first new token [1]."""
    cache = empty_cache_for(form_of(params), decoder.config, 1, tokens.shape[1], compute_dtype(params))
    positions = jnp.arange(tokens.shape[1])[None]
    visible = positions[:, None, :] <= positions[:, :, None]
    logits, cache = next_logits(decoder, params, cache, tokens, positions, visible, rows.positions, masks, personas)
    seen = tokens_seen(tokens, rows.positions + 1, decoder.config.vocab_size)
    token = sample(logits, token_keys(rows.seeds, rows.numbers), rows.settings, seen)
    return State(cache, seen.at[0, token[0]].set(True)), token


@functools.partial(jax.jit, donate_argnums=0)
def insert(state: State, row: Array, new: State) -> State:
    """Puts a prompt's state into a row. What an earlier request left behind it there is overwritten before it is seen."""

    def place(all_rows: Array, one: Array) -> Array:
        return jax.lax.dynamic_update_slice(all_rows, one.astype(all_rows.dtype), (0, row, *[0] * (one.ndim - 2)))

    return State(jax.tree.map(place, state.cache, new.cache), jax.lax.dynamic_update_slice(state.seen, new.seen, (row, 0)))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def decode(
    decoder: Decoder,
    params: Params,
    masks: Any,
    personas: Personas | None,
    state: State,
    tokens: Array,
    active: Array,
    rows: Rows,
) -> tuple[State, Array]:
    """Takes each row's newest token, int32 [B], and returns the next; of rows that are not ``active`` [B] nothing changes."""
    scratch = cache_length(state.cache) - 1
    positions = jnp.where(active, rows.positions, scratch)[:, None]
    visible = jnp.arange(scratch + 1) <= positions[..., None]
    last = jnp.zeros_like(tokens)
    logits, cache = next_logits(decoder, params, state.cache, tokens[:, None], positions, visible, last, masks, personas)
    drawn = sample(logits, token_keys(rows.seeds, rows.numbers), rows.settings, state.seen)
    drawn = jnp.where(active, drawn, tokens)  # which is seen already
    return State(cache, state.seen.at[jnp.arange(tokens.shape[0]), drawn].set(True)), drawn
