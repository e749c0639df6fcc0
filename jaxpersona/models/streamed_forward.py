"""Forward passes of a streamed model, one layer at a time for all batches; residual streams stay on the host between layers."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.sites import HEAD_SITE, SiteSums
from jaxpersona.models.streamed_model import StreamedModel

States = dict[int, np.ndarray]
"""The residual stream [B, T, hidden] of each batch, by the batch's number."""


def embed(model: StreamedModel, decoder: Decoder, tokens: Iterable[Any]) -> States:
    """Returns the embeddings of each of several int [B, T]."""
    params = model.part("embed_tokens")
    return {number: np.asarray(_embed(decoder, params, rows)) for number, rows in enumerate(tokens)}


def sums_of_layer(decoder: Decoder, params: Params, number: int, states: States) -> SiteSums:
    """Returns a function that runs a batch through layer ``number``, replaces its state, and returns the collected sums.

    Args:
      decoder: whose ``collect`` computes the sums.
      params: of the layer, kernels [1, in, out].
      number: of the layer.
      states: residual streams before the layer.
    """

    def sums_of(place: int, batch: Batch) -> dict[str, Any]:
        x, sums = layer_step(decoder, params, states[place], flag_of(decoder, number), batch)
        states[place] = np.asarray(x)
        return sums

    return sums_of


def flag_of(decoder: Decoder, number: int) -> np.ndarray:
    """Returns whether layer ``number`` attends within a window, bool [1]."""
    return np.array(decoder.config.is_sliding[number : number + 1])


def sums_at_head(decoder: Decoder, params: Params, states: States) -> SiteSums:
    """Returns a function that collects a batch's sums at the head's input; ``params`` are the final norm's."""

    def sums_of(place: int, batch: Batch) -> dict[str, Any]:
        return {HEAD_SITE: _collect_at_head(decoder, params, states[place], batch.weights)}

    return sums_of


@functools.partial(jax.jit, static_argnums=0)
def _embed(decoder: Decoder, params: Params, tokens: Any) -> jax.Array:
    return jnp.asarray(decoder.apply({"params": params}, tokens, method="embed"))


@functools.partial(jax.jit, static_argnums=0)
def layer_step(
    decoder: Decoder, params: Params, x: Any, is_sliding: Any, batch: Batch, persona: Any = None
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the residual stream [B, T, hidden] after a layer, and the sums that ``decoder`` collects there by site.

    Args:
      decoder: of the model.
      params: of the layer, kernels [1, in, out].
      x: residual stream before the layer, [B, T, hidden].
      is_sliding: bool [1].
      batch: of the states.
      persona: a persona's part in this layer (``Persona.in_layer``); None for the base model.
    """
    variables = {"params": params if persona is None else persona.apply(params)}
    inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": batch.weights}
    x, state = decoder.apply(variables, x, is_sliding, **inputs, mutable=["stats"], method="through")
    return jnp.asarray(x), by_site(state)


@functools.partial(jax.jit, static_argnums=0)
def logits(decoder: Decoder, params: Params, x: Any) -> jax.Array:
    """Returns logits [..., vocab] from the last residual stream [..., hidden]; ``params`` from ``StreamedModel.head``."""
    hidden = decoder.apply({"params": params}, x, method="normed")
    return jnp.asarray(decoder.apply({"params": params}, hidden, method="logits"))


@functools.partial(jax.jit, static_argnums=0)
def _collect_at_head(decoder: Decoder, params: Params, x: Any, weights: Any) -> Any:
    assert decoder.collect is not None
    hidden = jnp.asarray(decoder.apply({"params": params}, x, method="normed"))
    return jax.tree.map(lambda leaf: leaf[None], decoder.collect(hidden, jnp.asarray(weights)))
