"""A pass of the decoder over new tokens and the KV cache of those before, whatever form the parameters have."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.tree import Params
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.cpu import bfloat16_bits, unstacked
from jaxpersona.models.decoder import Decoder, Personas, compute_dtype
from jaxpersona.models.kv_cache import empty_cache
from jaxpersona.models.model import Model

Array = jax.Array
Form = Literal["stacked", "compact", "apart"]


def pick_form(model: Model, rows: int) -> Form:
    """The form of parameters from which so many texts at a time are generated quickest; measured in docs/performance.md."""
    if not model.quick_forms:
        return "stacked"
    return "compact" if rows == 1 else "apart"


def form_of(params: Params) -> Form:
    """The form that parameters have."""
    if unstacked.is_apart(params):
        return "apart"
    return "compact" if bfloat16_bits.is_compact(params["embed_tokens"]["embedding"]) else "stacked"


def in_form(model: Model, params: Params, form: Form) -> Params:
    """Stacked parameters in that form; others stay as they are."""
    if form == "stacked" or form_of(params) != "stacked":
        return params
    if params is model.params:
        return model.compact_params if form == "compact" else model.apart_params
    return bfloat16_bits.compact(params) if form == "compact" else unstacked.apart(params, model.batch_dtype)


def empty_cache_for(form: Form, config: ModelConfig, batch: int, length: int, dtype: Any) -> Any:
    """A KV cache of zeros, as ``cache.empty_cache`` or one for each layer, for parameters of that form."""
    return (unstacked.empty_caches if form == "apart" else empty_cache)(config, batch, length, dtype)


def next_logits(
    decoder: Decoder,
    params: Params,
    cache: Any,
    tokens: Any,
    positions: Any,
    visible: Any,
    last: Any,
    masks: Any = None,
    personas: Personas | None = None,
) -> tuple[Array, Any]:
    """Logits [B, vocab] at each row's place ``last`` [B], and the cache with the keys and values of tokens [B, T].

    Args:
      positions, visible: as for ``layer_inputs``.
      masks: a mask bank, with ``personas``; needs stacked parameters.
    """
    decoder = decoder.clone(dtype=compute_dtype(params))
    inputs = {"positions": positions, "visible": visible}
    if unstacked.is_apart(params):
        hidden, cache = unstacked.hidden(decoder, params, cache, tokens, inputs)
        return unstacked.logits(decoder, params, _at(hidden, last)), cache
    fixed = {"params": params} if masks is None else {"params": params, "masks": masks}
    variables = {**fixed, "cache": cache}
    hidden, state = decoder.apply(variables, tokens, **inputs, personas=personas, mutable=["cache"], method="hidden")
    return jnp.asarray(decoder.apply(fixed, _at(jnp.asarray(hidden), last), personas, method="logits")), state["cache"]


def _at(hidden: Array, last: Array) -> Array:
    """Each row's [B, hidden] at its place of [B, T, hidden]."""
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
