"""Generates calibration text with a streamed model; every token takes a pass over all weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.generated_text import TextAmount, beginnings
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.models.cpu.unstacked import cached_step
from jaxpersona.models.kv_cache import cache_length, empty_cache
from jaxpersona.models.sampling import Sampling, sample, settings_of
from jaxpersona.models.streamed_forward import embed, flag_of, logits
from jaxpersona.models.streamed_model import StreamedModel


def generate(model: StreamedModel, amount: TextAmount | None = None, seed: int = 42, stage: Stage = QUIET) -> np.ndarray:
    """Generates the texts of ``generated_text.generate``; the KV caches of all layers stay on the host.

    Args:
      amount: default 48 texts of 128 tokens.
      seed: of the first tokens and of sampling.
      stage: progress counts tokens per text.

    Returns:
      int32 [texts, length].
    """
    amount = amount or TextAmount()
    texts, length = amount.texts, amount.length
    prompts = np.array(beginnings(model, texts, seed), np.int32)
    saved = stage.load() or {"written": prompts, "caches": _empty_caches(model, texts, length)}
    written, start = saved["written"], prompts.shape[1]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(texts))
    for position in range(written.shape[1], length):
        new = written if position == start else written[:, -1:]
        scores = _continue(model, saved["caches"], new, position - new.shape[1])
        written = np.concatenate([written, np.asarray(_draw(scores, keys, position - start))[:, None]], axis=1)
        if position + 1 < length:
            stage.offer({**saved, "written": written})
        else:
            stage.save({"written": written})
        stage.progress(position + 1, length)
    return written


def _empty_caches(model: StreamedModel, texts: int, length: int) -> dict[int, Any]:
    empty = empty_cache(dataclasses.replace(model.config, num_layers=1), texts, length, model.dtype)
    return dict.fromkeys(range(model.config.num_layers), jax.tree.map(np.asarray, empty))


def _continue(model: StreamedModel, caches: dict[int, Any], tokens: np.ndarray, start: int) -> jax.Array:
    """Returns logits [B, vocab] after tokens [B, T] at positions from ``start``; writes their keys and values into the caches."""
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
def _draw(scores: jax.Array, keys: jax.Array, number: Any) -> jax.Array:
    """Draws each text's token ``number``, int32 [B], from logits [B, vocab] and the texts' keys [B], as ``decoding`` does."""
    token_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
    settings = settings_of([Sampling(temperature=1.0)] * len(scores))
    return sample(scores, token_keys, settings, jnp.zeros(scores.shape, bool))
