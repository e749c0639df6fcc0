"""A head of its own for a model whose head is its embedding, transposed: on a CPU, XLA transposes and widens it at every call."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxpersona.models.decoder import Decoder


def head_kernel(params: Mapping[str, Any], dtype: Any) -> jax.Array:
    """The head's kernel [hidden, vocab] in ``dtype``, for parameters with or without one of their own."""
    head = params["lm_head"]["kernel"] if "lm_head" in params else params["embed_tokens"]["embedding"].T
    return head.astype(dtype)


def with_head(params: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """The parameters with a head of their own, in ``dtype``; for the decoder of ``untied``."""
    return {**params, "lm_head": {"kernel": _head_kernel(params, dtype)}}


def untied(decoder: Decoder) -> Decoder:
    """The decoder that reads its head from ``lm_head``."""
    return decoder.clone(config=dataclasses.replace(decoder.config, tied_embeddings=False))


_head_kernel = jax.jit(head_kernel, static_argnames="dtype")
