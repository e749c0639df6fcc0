"""Generation with a KV cache: one pass over the prompts, then one token a step until every row has ended."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import to_host
from jaxpersona.data.text import chat_ids
from jaxpersona.masks.masks import Params, Persona, apply_mask
from jaxpersona.models.cached_forward import empty_cache_for, form_of, in_form, next_logits, pick_form
from jaxpersona.models.decoder import Decoder, compute_dtype
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling, Settings, sample, settings_of, tokens_seen

_SHORT, _STEP = 8, 64  # prompts are that wide, or a multiple of this: few shapes, few compilations


def generate(
    model: Model,
    prompts: Sequence[str],
    persona: Persona | None = None,
    *,
    gamma: float = 0.0,
    max_new_tokens: int = 64,
    sampling: Sampling | None = None,
    chat: bool = True,
    system: str = "",
    seed: int = 42,
) -> list[str]:
    """Continues prompts under one persona.

    Args:
      persona: masks or steering vectors to apply, or None for the model as it is.
      gamma: share of its strength a removed weight keeps (Eq. 7), or a steering vector loses.
      max_new_tokens: at most this many tokens a prompt; a row ends earlier at an end-of-turn token.
      sampling: greedy by default.
      chat: put prompts (and ``system``) into the model's chat template; False continues the bare text.
      seed: of sampling; row i draws from its own stream, whatever the other prompts are.

    Returns:
      The new text of each prompt, without special tokens.

    Raises:
      InputError: for an empty prompt, a prompt that leaves no room within the model's positions, a gamma
        outside [0, 1) or without a persona, or masks that do not fit.
    """
    rows = [_prompt_ids(model, prompt, chat, system) for prompt in prompts]
    if not rows:
        return []
    room = model.config.max_positions - max(map(len, rows))
    if max_new_tokens < 1 or room < max_new_tokens:
        longest = max(map(len, rows))
        raise InputError(
            f"max_new_tokens is {max_new_tokens}, but the longest prompt has {longest} tokens and the model "
            f"{model.config.max_positions} positions; between 1 and {max(room, 0)} new tokens are possible"
        )
    if persona is None and gamma:
        raise InputError(f"gamma is {gamma}, but no persona is given for it to soften")
    params = model.params if persona is None else apply_mask(model.params, persona, gamma)
    new = generate_ids(model, params, rows, max_new_tokens, sampling or Sampling(), seed)
    return model.tokenizer.batch_decode(new, skip_special_tokens=True)


def _prompt_ids(model: Model, prompt: str, chat: bool, system: str) -> list[int]:
    if not prompt.strip():
        raise InputError("a prompt is empty; give some text")
    return chat_ids(model.tokenizer, prompt, system) if chat else model.tokenizer.encode(prompt)


def generate_ids(
    model: Model, params: Params, prompts: Sequence[Sequence[int]], max_new_tokens: int, sampling: Sampling, seed: int = 42
) -> list[list[int]]:
    """As ``generate``, from token ids to the new token ids, which end before the first end-of-turn token.

    Args:
      params: the model's own or masked ones, in any form (``in_form``).
    """
    params = in_form(model, params, pick_form(model, len(prompts)))
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    width = _SHORT if lengths.max() <= _SHORT else -(-int(lengths.max()) // _STEP) * _STEP
    tokens = np.zeros((len(prompts), width), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    decode = functools.partial(_decode, model.decoder, model.eos_ids, max_new_tokens)
    new, counts = decode(params, tokens, lengths, jax.random.key(seed), settings_of([sampling] * len(prompts)))
    return [row[:count].tolist() for row, count in zip(to_host(new), to_host(counts), strict=True)]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _decode(
    decoder: Decoder,
    eos: tuple[int, ...],
    steps: int,
    params: Params,
    tokens: Any,
    lengths: Any,
    key: jax.Array,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """New tokens int32 [B, steps] and how many of each row count.

    Prompts are padded at the end; a row's new tokens are written over its padding, so what lies beyond its length is never seen.
    """
    batch, width = tokens.shape
    cache = empty_cache_for(form_of(params), decoder.config, batch, width + steps, compute_dtype(params))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
    slots = jnp.arange(width + steps)

    def forward(cache: Any, tokens: jax.Array, positions: jax.Array, last: jax.Array) -> tuple[jax.Array, Any]:
        return next_logits(decoder, params, cache, tokens, positions, slots <= positions[..., None], last)

    def draw(
        logits: jax.Array, step: jax.Array | int, running: jax.Array, seen: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        chosen = sample(logits, jax.vmap(jax.random.fold_in, (0, None))(keys, step), settings, seen)
        return chosen, running & ~jnp.isin(chosen, jnp.array(eos, jnp.int32)), seen.at[jnp.arange(batch), chosen].set(True)

    def advance(state: tuple) -> tuple:
        step, cache, current, running, seen, new = state
        new = new.at[:, step].set(jnp.where(running, current, -1))
        logits, cache = forward(cache, current[:, None], (lengths + step)[:, None], jnp.zeros(batch, jnp.int32))
        chosen, running, seen = draw(logits, step + 1, running, seen)
        return step + 1, cache, chosen, running, seen, new

    positions = jnp.broadcast_to(jnp.arange(width), (batch, width))
    logits, cache = forward(cache, tokens, positions, lengths - 1)
    seen = tokens_seen(tokens, lengths, decoder.config.vocab_size)
    first, running, seen = draw(logits, 0, jnp.ones(batch, bool), seen)
    start = (0, cache, first, running, seen, jnp.full((batch, steps), -1, jnp.int32))
    *_, new = jax.lax.while_loop(lambda state: (state[0] < steps) & state[3].any(), advance, start)
    return new, (new >= 0).sum(axis=1)
