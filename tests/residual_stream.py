"""Reads the residual stream of one text alone, and draws steering vectors, for tests of steering."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.masks.steering_vectors import SteeringVectors
from jaxpersona.models.decoder import Decoder

LENGTH = 128


def keep(h, weights):
    """Collects the activations themselves."""
    return h


@jax.jit(static_argnums=0)
def collected(decoder, params, tokens):
    """Returns what ``decoder`` collects from tokens [B, T]."""
    weights = jnp.ones((1, *tokens.shape))
    return decoder.apply({"params": params}, tokens, weights=weights, mutable=["stats"], method="hidden")[1]


def after_layers(model, params, ids):
    """Returns the residual stream after every layer for one text alone, float64 [layer, token, hidden]."""
    tokens = np.zeros((1, LENGTH), np.int32)
    tokens[0, : len(ids)] = ids
    state = collected(Decoder(model.config, keep, ("layer_out",)), params, tokens)
    return np.asarray(state["stats"]["layers"]["layer_out"][:, 0, : len(ids)], np.float64)


def some_vectors(model, seed=0):
    """Returns random steering vectors for every layer."""
    shape = (model.config.num_layers, model.config.hidden_size)
    return SteeringVectors(jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32))
