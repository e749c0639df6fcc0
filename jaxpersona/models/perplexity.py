"""Measures perplexity: it verifies that a model was loaded correctly, and measures the damage of a mask."""

import functools
import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.finite import OVERFLOW
from jaxpersona.core.mesh import place_rows, row_multiple, to_host
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.text import encode, opening_ids
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import Model

HEAD_POSITIONS = 128
"""Positions whose logits exist at once."""


def windows(model: Model, text: str, max_tokens: int = 4096, length: int = 512) -> np.ndarray:
    """Cuts the first ``max_tokens`` tokens of the text into windows int32 [n, length]; drops an incomplete last window.

    Windows start with BOS if the model's tokenizer starts texts with it.

    Args:
      model: whose tokenizer is used.
      text: neutral text.
      max_tokens: at most this many tokens, BOS included.
      length: tokens per window, at most the model's ``max_positions``.

    Raises:
      InputError: if the text or ``max_tokens`` is shorter than one window, or a window is shorter than 2 tokens.
    """
    start = opening_ids(model.tokenizer)
    length = min(length, model.config.max_positions)
    if length < 2:
        raise InputError(f"windows of {length} tokens predict nothing; give at least 2")
    if max_tokens < length:
        raise InputError(f"max_tokens is {max_tokens}, perplexity needs at least one window of {length}")
    body = length - len(start)
    ids = encode(model.tokenizer, text, add_special_tokens=False)[: max_tokens // length * body]
    count = len(ids) // body
    if not count:
        raise InputError(f"the text has {len(ids)} tokens, perplexity needs at least {body}")
    rows = np.array(ids[: count * body], np.int32).reshape(count, body)
    return np.concatenate([np.full((count, len(start)), start, np.int32).reshape(count, len(start)), rows], axis=1)


def perplexity(model: Model, params: Params, tokens: np.ndarray, stage: Stage = QUIET) -> float:
    """Returns the perplexity: exp of the mean negative log-likelihood per token, given the earlier tokens of its window.

    It is NaN if a likelihood is not a number.

    Args:
      model, params, tokens, stage: as for ``losses``.
    """
    return exp(float(losses(model, params, tokens, stage).mean()))


def losses(model: Model, params: Params, tokens: np.ndarray, stage: Stage = QUIET) -> np.ndarray:
    """Returns the negative log-likelihood of all tokens but the first of each window, float64 [n, length - 1].

    The base model's are measured once per token array and cached.

    Args:
      model: whose decoder is used.
      params: the model's own or masked ones.
      tokens: int32 [n, length] from ``windows``.
      stage: progress counts windows.
    """
    if params is not model.params:
        return _measure(model, params, tokens, stage)
    key = hashlib.sha256(f"{tokens.shape}".encode() + tokens.tobytes()).hexdigest()
    if key not in model.base_losses:
        model.base_losses[key] = _measure(model, params, tokens, stage)
    return model.base_losses[key]


def _measure(model: Model, params: Params, tokens: np.ndarray, stage: Stage) -> np.ndarray:
    found, (params, decoder) = [], model.with_head(params)
    height = row_multiple(model.mesh)
    for start in range(0, len(tokens), height):
        part = tokens[start : start + height]
        rows = place_rows(np.pad(part, ((0, height - len(part)), (0, 0))), model.mesh)
        found.append(to_host(_window_nll(decoder, params, rows))[: len(part)])
        stage.progress(start + len(part), len(tokens))
    return np.concatenate(found).astype(np.float64)


def exp(nll: float) -> float:
    """Returns e to the power of a mean negative log-likelihood; infinity where it exceeds the largest float."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def check_perplexity(value: float, text: str, persona: str = "none") -> float:
    """Returns a measured perplexity if it is a number, infinity included.

    Args:
      value: from ``perplexity``.
      text: name of the text.
      persona: under which it was measured.

    Raises:
      InputError: if it is NaN.
    """
    if math.isnan(value):
        raise InputError(f"perplexity on {text} under mask {persona} is {value}: {OVERFLOW}")
    return value


@functools.partial(jax.jit, static_argnames="decoder")
def _window_nll(decoder: Decoder, params: Params, tokens: jax.Array) -> jax.Array:
    """Returns the negative log-likelihood [B, T - 1] of all tokens of windows [B, T] but the first."""
    hidden = decoder.apply({"params": params}, tokens[:, :-1], method="hidden")
    return next_nll(decoder, params, jnp.asarray(hidden), tokens)


def next_nll(decoder: Decoder, params: Params, hidden: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns ``_window_nll`` from final hidden states [B, T - 1, hidden].

    Computes the logits of some positions at a time: those of a window and a large vocabulary would be the largest array of all.
    """

    def at_position(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, token = args
        logits = jnp.asarray(decoder.apply({"params": params}, hidden, method="logits"))
        return jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]

    return jax.lax.map(at_position, (hidden.swapaxes(0, 1), tokens[:, 1:].T), batch_size=HEAD_POSITIONS).T
