"""Gives models with a tied head a head kernel of their own: on a CPU, XLA transposes and widens the embedding in every call."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxpersona.models.decoder import Decoder


def head_kernel(params: Mapping[str, Any], dtype: Any) -> jax.Array:
    """Returns the head's kernel [hidden, vocab] in ``dtype``, whether the head is tied or not."""
    head = params["lm_head"]["kernel"] if "lm_head" in params else params["embed_tokens"]["embedding"].T
    return head.astype(dtype)


def with_head(params: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Returns parameters with a head kernel of their own in ``dtype``, for the decoder of ``untied``."""
    return {**params, "lm_head": {"kernel": _head_kernel(params, dtype)}}


def untied(decoder: Decoder) -> Decoder:
    """Returns the decoder with an untied head, ``lm_head``."""
    return decoder.clone(config=dataclasses.replace(decoder.config, tied_embeddings=False))


_head_kernel = jax.jit(head_kernel, static_argnames="dtype")
