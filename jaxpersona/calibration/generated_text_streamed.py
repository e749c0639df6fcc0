"""The text of ``self_text.write`` from a streamed model: every token takes a pass over all weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.generated_text import LENGTH, TEXTS, beginnings
from jaxpersona.core.checkpoints import NOTHING, Checkpoint
from jaxpersona.core.progress import Progress, silent
from jaxpersona.models.cpu.unstacked import cached_step
from jaxpersona.models.kv_cache import cache_length, empty_cache
from jaxpersona.models.sampling import Sampling, sample, settings_of
from jaxpersona.models.streamed_forward import embed, flag_of, logits
from jaxpersona.models.streamed_model import StreamedModel


def write(
    model: StreamedModel,
    texts: int = TEXTS,
    length: int = LENGTH,
    seed: int = 42,
    progress: Progress = silent,
    checkpoint: Checkpoint = NOTHING,
) -> np.ndarray:
    """Texts int32 [texts, length], all at once; the keys and values of all layers stay on the host.

    Args:
      progress: called with (tokens a text, tokens a text in all).
      checkpoint: keeps the texts so far with their keys and values, and at last the texts alone.
    """
    begun = np.array(beginnings(model, texts, seed), np.int32)
    kept = checkpoint.load() or {"written": begun, "caches": _no_caches(model, texts, length)}
    written, start = kept["written"], begun.shape[1]
    rows = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(texts))
    for place in range(written.shape[1], length):
        new = written if place == start else written[:, -1:]
        scores = _read_on(model, kept["caches"], new, place - new.shape[1])
        written = np.concatenate([written, np.asarray(_draw(scores, rows, place - start))[:, None]], axis=1)
        if place + 1 < length:
            checkpoint.offer({**kept, "written": written})
        else:
            checkpoint.save({"written": written})
        progress(place + 1, length)
    return written


def _no_caches(model: StreamedModel, texts: int, length: int) -> dict[int, Any]:
    empty = empty_cache(dataclasses.replace(model.config, num_layers=1), texts, length, model.dtype)
    return dict.fromkeys(range(model.config.num_layers), jax.tree.map(np.asarray, empty))


def _read_on(model: StreamedModel, caches: dict[int, Any], tokens: np.ndarray, start: int) -> jax.Array:
    """Logits [B, vocab] after tokens [B, T] at positions from ``start`` on; their keys and values come into the caches."""
    decoder = model.batch_decoder()
    x = embed(model, decoder, [tokens])[0]
    positions = np.broadcast_to(np.arange(start, start + tokens.shape[1], dtype=np.int32), tokens.shape)
    slots = np.arange(cache_length(caches[0]))
    inputs = {"positions": positions, "visible": slots <= positions[..., None]}
    for number, params in model.layers():
        x, cache = cached_step(decoder, params, caches[number], x, flag_of(decoder, number), inputs)
        x, caches[number] = jax.tree.map(np.asarray, (x, cache))
    return logits(decoder, model.head(), x[:, -1])


@jax.jit
def _draw(scores: jax.Array, rows: jax.Array, number: Any) -> jax.Array:
    """Each text's token ``number``, int32 [B], from logits [B, vocab] and the keys of the texts [B], as ``decoding`` draws it."""
    keys = jax.vmap(jax.random.fold_in, (0, None))(rows, number)
    settings = settings_of([Sampling(temperature=1.0)] * len(scores))
    return sample(scores, keys, settings, jnp.zeros(scores.shape, bool))
