"""A layer collector passes every batch through each layer and hands its sums to the reduction."""

import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.layerwise import LayerCollector
from jaxpersona.data.packing import whole_rows
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.sites import HEAD_SITE


def total(h, weights):
    """Returns the sum of the activations, [1, channel]."""
    return jnp.sum(h, axis=(0, 1))[None]


def last_layer(state):
    return state["stats"]["layers"]["self_attn"]["attn_in"][-1, 0]


def test_states_move_on_and_sums_of_all_batches_are_reduced(tiny_model, streamed):
    batches = whole_rows(np.random.default_rng(0).integers(3, 250, (3, 8)).astype(np.int32), 0)
    decoder = Decoder(tiny_model.config, total)
    seen = []

    def reduce(batches, sums_of):
        seen.append(len(batches))
        return [sums_of(number, batch) for number, batch in enumerate(batches)]

    texts = LayerCollector(decoder, batches, reduce)
    states = texts.start(streamed)
    sums = [texts.layer(number, params, states) for number, params in streamed.layers()]
    at_head = texts.head(streamed.part("norm"), states)
    assert seen == [3] * 4
    for number, batch in enumerate(batches):
        weights = jnp.ones((1, *batch.tokens.shape))
        variables = {"params": tiny_model.params}
        hidden, state = decoder.apply(variables, batch.tokens, weights=weights, mutable=["stats"], method="hidden")
        np.testing.assert_allclose(sums[2][number]["attn_in"][0, 0], last_layer(state), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(at_head[number][HEAD_SITE][0, 0], np.sum(hidden, axis=(0, 1)), rtol=1e-4, atol=1e-4)
