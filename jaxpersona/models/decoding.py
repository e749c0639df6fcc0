"""Generates token ids with a KV cache: one forward pass over the prompts, then one token per step until every row has ended."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.finite import OVERFLOW
from jaxpersona.core.mesh import to_host
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.models.cached_forward import empty_cache_for, form_of, in_form, next_logits, pick_form
from jaxpersona.models.decoder import Decoder, compute_dtype
from jaxpersona.models.guidance import Guidance
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling, Settings, sample, settings_of, tokens_seen

_BATCH = 16
_SHORT, _STEP = 8, 64  # prompts are padded to the first, or to a multiple of the second, so that few shapes compile


def generate_ids(
    model: Model,
    params: Params,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling,
    seed: int = 42,
    numbers: Sequence[int] | None = None,
    guidance: Guidance | None = None,
) -> list[list[int]]:
    """Returns the new token ids of each prompt, up to but without the first end-of-turn token.

    Args:
      model: whose decoder and ``eos_ids`` are used.
      params: the model's own or masked ones, in any form (``in_form``).
      prompts: token ids; none may be empty.
      max_new_tokens: per prompt.
      sampling: the same for all prompts.
      seed: of the draws.
      numbers: of the prompts, which their draws depend on besides the seed; default: 0, 1, ....
      guidance: prompts are then in pairs of an own and another one, which share a number and get the same text.

    Raises:
      InputError: if logits are not finite.
    """
    params = in_form(model, params, pick_form(model, len(prompts)))
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    width = _SHORT if lengths.max() <= _SHORT else -(-int(lengths.max()) // _STEP) * _STEP
    tokens = np.zeros((len(prompts), width), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    decode = functools.partial(_decode, model.decoder, model.eos_ids, max_new_tokens, guidance=guidance)
    key, own = jax.random.key(seed), np.array(range(len(prompts)) if numbers is None else numbers, np.int32)
    new, counts, finite = decode(params, tokens, lengths, key, own, settings_of([sampling] * len(prompts)))
    if not (good := to_host(finite)).all():
        row = int(good.argmin())
        raise InputError(f"logits are not finite in text {row + 1}, after {int(to_host(counts)[row])} new tokens: {OVERFLOW}")
    return [row[:count].tolist() for row, count in zip(to_host(new), to_host(counts), strict=True)]


def generate_batches(
    model: Model,
    params: Params,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling,
    seed: int = 42,
    stage: Stage = QUIET,
) -> list[list[int]]:
    """Returns what ``generate_ids`` returns, for any number of prompts.

    Prompts of similar length share a batch, and all batches have the same number of rows, so that few shapes compile.

    Args:
      model, params, prompts, max_new_tokens, sampling: as for ``generate_ids``; there is at least one prompt.
      seed: of the draws; those of a text depend on its place among the prompts, not on its batch.
      stage: progress counts batches.

    Raises:
      InputError: as ``generate_ids``.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    count = -(-len(order) // _BATCH)
    rows = -(-len(order) // count)
    params = in_form(model, params, pick_form(model, rows))
    answers: dict[int, list[int]] = {}
    for number in range(count):
        batch = order[number * rows : (number + 1) * rows]
        padded = batch + batch[-1:] * (rows - len(batch))
        new = generate_ids(model, params, [prompts[i] for i in padded], max_new_tokens, sampling, seed, padded)
        answers |= zip(padded, new, strict=True)
        stage.progress(number + 1, count)
    return [answers[i] for i in range(len(prompts))]


@functools.partial(jax.jit, static_argnums=(0, 1, 2), static_argnames="guidance")
def _decode(
    decoder: Decoder,
    eos: tuple[int, ...],
    steps: int,
    params: Params,
    tokens: Any,
    lengths: Any,
    key: jax.Array,
    numbers: Any,
    settings: Settings,
    guidance: Guidance | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns new tokens int32 [B, steps], the number of valid ones in each row [B], and whether its logits were finite [B].

    A row ends at logits that are not.
    Prompts are padded at the end. New tokens overwrite the padding in the KV cache, so no query attends to it.
    """
    batch, width = tokens.shape
    cache = empty_cache_for(form_of(params), decoder.config, batch, width + steps, compute_dtype(params))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    slots = jnp.arange(width + steps)

    def forward(cache: Any, tokens: jax.Array, positions: jax.Array, last: jax.Array) -> tuple[jax.Array, Any]:
        return next_logits(decoder, params, cache, tokens, positions, slots <= positions[..., None], last)

    def draw(logits: jax.Array, step: jax.Array | int, running: jax.Array, seen: jax.Array) -> tuple[jax.Array, ...]:
        guided = logits if guidance is None else guidance(logits)
        chosen = sample(guided, jax.vmap(jax.random.fold_in, (0, None))(keys, step), settings, seen)
        finite = jnp.isfinite(logits).all(axis=-1) | ~running
        goes_on = running & finite & ~jnp.isin(chosen, jnp.array(eos, jnp.int32))
        return chosen, goes_on, seen.at[jnp.arange(batch), chosen].set(True), finite

    def advance(state: tuple) -> tuple:
        step, cache, current, running, seen, new, good = state
        new = new.at[:, step].set(jnp.where(running, current, -1))
        logits, cache = forward(cache, current[:, None], (lengths + step)[:, None], jnp.zeros(batch, jnp.int32))
        chosen, running, seen, finite = draw(logits, step + 1, running, seen)
        return step + 1, cache, chosen, running, seen, new, good & finite

    positions = jnp.broadcast_to(jnp.arange(width), (batch, width))
    logits, cache = forward(cache, tokens, positions, lengths - 1)
    seen = tokens_seen(tokens, lengths, decoder.config.vocab_size)
    first, running, seen, good = draw(logits, 0, jnp.ones(batch, bool), seen)
    start = (0, cache, first, running, seen, jnp.full((batch, steps), -1, jnp.int32), good)
    *_, new, good = jax.lax.while_loop(lambda state: (state[0] < steps) & state[3].any(), advance, start)
    return new, (new >= 0).sum(axis=1), good
