"""The text of ``self_text.write`` from a streamed model: every token takes a pass over all weights."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.inference.sampling import Sampling, sample, settings_of
from jaxpersona.models.decoder import Decoder, empty_cache
from jaxpersona.models.streamed import StreamedModel
from jaxpersona.models.weights import Params
from jaxpersona.progress import Progress, silent
from jaxpersona.self_text import beginnings
from jaxpersona.streaming.forward import embed, flag_of, logits


def write(model: StreamedModel, texts: int = 48, length: int = 128, seed: int = 42, progress: Progress = silent) -> np.ndarray:
    """Texts int32 [texts, length], all at once; the keys and values of all layers stay on the host.

    Args:
      progress: called with (tokens a text, tokens a text in all).
    """
    written = np.array(beginnings(model, texts, seed), np.int32)
    start, new = written.shape[1], written
    empty = empty_cache(dataclasses.replace(model.config, num_layers=1), texts, length, model.dtype)
    caches = [jax.tree.map(np.asarray, empty)] * model.config.num_layers
    rows = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(texts))
    for place in range(start, length):
        scores = _read_on(model, caches, new, place - new.shape[1])
        new = np.asarray(_draw(scores, rows, place - start))[:, None]
        written = np.concatenate([written, new], axis=1)
        progress(place + 1, length)
    return written


def _read_on(model: StreamedModel, caches: list[Any], tokens: np.ndarray, start: int) -> jax.Array:
    """Logits [B, vocab] after tokens [B, T] at positions from ``start`` on; their keys and values come into the caches."""
    decoder, (x,) = model.decoder, embed(model, model.decoder, [tokens])
    positions = np.broadcast_to(np.arange(start, start + tokens.shape[1], dtype=np.int32), tokens.shape)
    for number, params in model.layers():
        x, cache = _cached_step(decoder, params, caches[number], x, flag_of(decoder, number), positions)
        x, caches[number] = jax.tree.map(np.asarray, (x, cache))
    return logits(decoder, model.head(), x[:, -1])


@functools.partial(jax.jit, static_argnums=0)
def _cached_step(
    decoder: Decoder, params: Params, cache: Any, x: Any, is_sliding: Any, positions: Any
) -> tuple[jax.Array, dict[str, Any]]:
    """The residual stream after a layer, and its cache with the new keys and values."""
    slots = jnp.arange(jax.tree.leaves(cache)[0].shape[2])
    inputs = {"positions": positions, "visible": slots <= positions[..., None]}
    x, state = decoder.apply({"params": params, "cache": cache}, x, is_sliding, **inputs, mutable=["cache"], method="through")
    return jnp.asarray(x), dict(state["cache"])


@jax.jit
def _draw(scores: jax.Array, rows: jax.Array, number: Any) -> jax.Array:
    """Each text's token ``number``, int32 [B], from logits [B, vocab] and the keys of the texts [B], as ``decoding`` draws it."""
    keys = jax.vmap(jax.random.fold_in, (0, None))(rows, number)
    settings = settings_of([Sampling(temperature=1.0)] * len(scores))
    return sample(scores, keys, settings, jnp.zeros(scores.shape, bool))
