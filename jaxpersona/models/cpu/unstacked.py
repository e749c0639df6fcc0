"""Unstacked parameters, for generating several texts on a CPU: each layer has arrays of its own.

XLA copies each layer's matrices out of their stack in every forward pass, which takes longer than multiplying a few rows by them
(docs/performance.md). Unstacked matrices are read in place; in return, compile time grows with depth.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.tree import Params
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.cpu.untied_head import head_kernel, untied
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.kv_cache import empty_cache


def is_unstacked(params: Params) -> bool:
    """Returns whether parameters are unstacked."""
    return isinstance(params["layers"], tuple)


def unstack(params: Params, dtype: Any) -> dict[str, Any]:
    """Returns unstacked parameters: ``layers`` is a tuple of one-layer stacks, with kernels in ``dtype``.

    The head always has its own kernel, ``lm_head`` (``untied_head.py``).
    """
    return {**params, **_unstack(params, dtype)}


@functools.partial(jax.jit, static_argnames="dtype")
def _unstack(params: Params, dtype: Any) -> dict[str, Any]:
    def narrow(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if path[-1].key == "kernel" else leaf

    stack = jax.tree_util.tree_map_with_path(narrow, params["layers"])
    count = jax.tree.leaves(stack)[0].shape[0]
    layers = tuple(jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], stack) for i in range(count))
    return {"layers": layers, "lm_head": {"kernel": head_kernel(params, dtype)}}


def empty_caches(config: ModelConfig, batch: int, length: int, dtype: Any) -> tuple[dict[str, Any], ...]:
    """Returns an empty KV cache for each layer, each that of a one-layer model (``kv_cache.empty_cache``)."""
    one = dataclasses.replace(config, num_layers=1)
    return tuple(empty_cache(one, batch, length, dtype) for _ in range(config.num_layers))


def hidden(decoder: Decoder, params: Params, caches: Any, tokens: Any, inputs: dict[str, Any]) -> tuple[jax.Array, Any]:
    """Returns ``Decoder.hidden`` of tokens [B, T], and the caches with the new keys and values.

    Args:
      decoder: of the model.
      params: unstacked.
      caches: from ``empty_caches`` or an earlier call.
      tokens: int [B, T].
      inputs: as for ``cached_step``.
    """
    flags, new = np.array(decoder.config.is_sliding), []
    x = decoder.apply({"params": {"embed_tokens": params["embed_tokens"]}}, tokens, method="embed")
    for number, (layer, cache) in enumerate(zip(params["layers"], caches, strict=True)):
        x, cache = cached_step(decoder, {"layers": layer}, cache, x, flags[number : number + 1], inputs)
        new.append(cache)
    return jnp.asarray(decoder.apply({"params": {"norm": params["norm"]}}, x, method="normed")), tuple(new)


def logits(decoder: Decoder, params: Params, x: jax.Array) -> jax.Array:
    """Returns next-token logits [B, vocab] from final hidden states [B, hidden]."""
    rows = x if len(x) > 1 else jnp.concatenate([x, x])  # XLA has no fast bfloat16 product of a single row on a CPU
    return jnp.asarray(untied(decoder).apply({"params": {"lm_head": params["lm_head"]}}, rows, method="logits"))[: len(x)]


@functools.partial(jax.jit, static_argnums=0)
def cached_step(
    decoder: Decoder, params: Params, cache: Any, x: Any, is_sliding: Any, inputs: Any
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the residual stream [B, T, hidden] after one layer, and its cache with the new keys and values.

    Args:
      params: ``{"layers": ...}``, a one-layer stack.
      cache: of this layer.
      x: the residual stream before the layer.
      is_sliding: bool [1].
      inputs: ``positions`` and ``visible``, as for ``layer_inputs``.
    """
    x, state = decoder.apply({"params": params, "cache": cache}, x, is_sliding, **inputs, mutable=["cache"], method="through")
    return jnp.asarray(x), dict(state["cache"])
