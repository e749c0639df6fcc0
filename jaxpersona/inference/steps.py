"""The engine's three compiled functions: prefill a prompt, insert its state into a row, decode one token per row.

All shapes are fixed except the prompt's, which comes in a few widths. The last cache position is scratch: inactive rows write
there, and no query attends to it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxpersona.core.mesh import shardings
from jaxpersona.core.tree import Params
from jaxpersona.inference.token_scores import Scores, scores_if, text_scores_if
from jaxpersona.models.cached_forward import Form, empty_cache_for, form_of, hidden_states, logits_of, next_logits, state_at
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import Decoder, Personas, compute_dtype
from jaxpersona.models.kv_cache import cache_length
from jaxpersona.models.sampling import Settings, sample, token_keys, tokens_seen

Array = jax.Array
NOT_FINITE = -1
"""In place of a token: the logits were not finite."""


class Rows(NamedTuple):
    """Per-row inputs of a step, arrays [B].

    Attributes:
      positions: int32, position of the input token (the last of the prompt, or the newest one).
      numbers: int32, index of the output token among the new ones, from 0.
      seeds: uint32, of sampling.
      settings: sampling settings.
      scored: bool [], whether the log-probabilities of new tokens are wanted.
      prompt_scored: bool [], whether those of the prompt's tokens are.
    """

    positions: Array
    numbers: Array
    seeds: Array
    settings: Settings
    scored: Any = False
    prompt_scored: Any = False


class Drawn(NamedTuple):
    """New tokens (or ``NOT_FINITE``), int32 [B], and their scores, which are zeros unless wanted."""

    tokens: Array
    scores: Scores


class State(NamedTuple):
    """The device state carried from step to step.

    Attributes:
      cache: keys and values as in ``kv_cache.empty_cache``, of length + 1, stacked over layers or one per layer.
      seen: bool [row, vocab], the tokens of each row's text.
    """

    cache: Any
    seen: Array


def empty_state(form: Form, config: ModelConfig, rows: int, length: int, dtype: Any, mesh: Mesh | None = None) -> State:
    """Returns the state of ``rows`` empty rows of ``length`` positions, for parameters of form ``form``."""

    def empty() -> State:
        return State(empty_cache_for(form, config, rows, length + 1, dtype), jnp.zeros((rows, config.vocab_size), bool))

    # Under jit, so that no device of a mesh ever holds a whole cache.
    return empty() if mesh is None else jax.jit(empty, out_shardings=shardings_of(jax.eval_shape(empty), mesh))()


def shardings_of(state: State, mesh: Mesh) -> State:
    """Returns the shardings of a state, or of its shapes: by KV heads and vocabulary over ``model``, as decoding leaves them."""
    return State(**shardings(state._asdict(), mesh))


@functools.partial(jax.jit, static_argnums=0)
def prefill(
    decoder: Decoder, params: Params, masks: Any, personas: Personas | None, tokens: Array, rows: Rows
) -> tuple[State, Drawn, Scores]:
    """Runs one prompt through the decoder.

    Args:
      tokens: int32 [1, W], padded at the end.

    Returns:
      The prompt's state, of W positions, its first new token, and the scores of its tokens [W], which are zeros unless wanted.
    """
    cache = empty_cache_for(form_of(params), decoder.config, 1, tokens.shape[1], compute_dtype(params))
    positions = jnp.arange(tokens.shape[1])[None]
    visible = positions[:, None, :] <= positions[:, :, None]
    hidden, cache = hidden_states(decoder, params, cache, tokens, positions, visible, masks, personas)
    logits = logits_of(decoder, params, state_at(hidden, rows.positions), masks, personas)
    seen = tokens_seen(tokens, rows.positions + 1, decoder.config.vocab_size)
    drawn = _drawn(logits, rows, seen)

    def logits_after(some: Array) -> Array:
        same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, some.shape[0]), personas)
        return logits_of(decoder, params, some, masks, same)

    prompt = text_scores_if(jnp.asarray(rows.prompt_scored), hidden[0], tokens[0], logits_after)
    return State(cache, _with(seen, drawn.tokens)), drawn, prompt


@functools.partial(jax.jit, donate_argnums=0)
def insert(state: State, row: Array, new: State) -> State:
    """Copies a prompt's state into a row.

    Later positions still hold an earlier request's keys and values; ``decode`` overwrites each before a query attends to it.
    """

    def write(all_rows: Array, one: Array) -> Array:
        return jax.lax.dynamic_update_slice(all_rows, one.astype(all_rows.dtype), (0, row, *[0] * (one.ndim - 2)))

    return State(jax.tree.map(write, state.cache, new.cache), jax.lax.dynamic_update_slice(state.seen, new.seen, (row, 0)))


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
) -> tuple[State, Drawn]:
    """Decodes one token per row; donates ``state``.

    Args:
      tokens: int32 [B], the newest token of each row.
      active: bool [B]; the state and token of other rows stay unchanged.

    Returns:
      The new state, and the next token of each row.
    """
    scratch = cache_length(state.cache) - 1
    positions = jnp.where(active, rows.positions, scratch)[:, None]
    visible = jnp.arange(scratch + 1) <= positions[..., None]
    last = jnp.zeros_like(tokens)
    logits, cache = next_logits(decoder, params, state.cache, tokens[:, None], positions, visible, last, masks, personas)
    drawn = _drawn(logits, rows, state.seen)
    drawn = drawn._replace(tokens=jnp.where(active, drawn.tokens, tokens))  # an inactive row's is in ``seen`` already
    return State(cache, _with(state.seen, drawn.tokens)), drawn


def _drawn(logits: Array, rows: Rows, seen: Array) -> Drawn:
    """Draws a token per row."""
    tokens = sample(logits, token_keys(rows.seeds, rows.numbers), rows.settings, seen)
    tokens = jnp.where(jnp.isfinite(logits).all(axis=-1), tokens, NOT_FINITE)
    return Drawn(tokens, scores_if(jnp.asarray(rows.scored), logits, tokens))


def _with(seen: Array, drawn: Array) -> Array:
    return seen.at[jnp.arange(drawn.shape[0]), jnp.maximum(drawn, 0)].set(True)
