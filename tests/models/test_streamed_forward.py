"""The steps of a streamed forward pass give the residual streams, sums and logits of the whole decoder."""

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.calibration.moments import site_sums, weighted_sums
from jaxpersona.core.tree import flatten
from jaxpersona.data.packing import whole_rows
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.sites import HEAD_SITE
from jaxpersona.models.streamed_forward import embed, flag_of, layer_step, logits, sums_at_head, sums_of_layer

TOKENS = np.random.default_rng(0).integers(3, 250, (2, 9)).astype(np.int32)


@pytest.fixture(scope="module")
def batches():
    return whole_rows(TOKENS, 0)


def test_layers_and_head_give_the_sums_and_logits_of_the_whole_model(tiny_model, streamed, batches):
    decoder = Decoder(tiny_model.config, weighted_sums)
    states, layers = embed(streamed, decoder, (batch.tokens for batch in batches)), []
    for number, params in streamed.layers():
        sums_of = sums_of_layer(decoder, params, number, states)
        layers.append([sums_of(place, batch) for place, batch in enumerate(batches)])
    head = sums_at_head(decoder, streamed.part("norm"), states)
    for place, batch in enumerate(batches):
        expected = site_sums(tiny_model.params, batch, decoder, None, head=True)
        found = jax.tree.map(lambda *parts: np.concatenate(parts), *(sums[place] for sums in layers)) | head(place, batch)
        assert found.keys() == expected.keys() >= {HEAD_SITE}
        for path, sums in flatten(expected).items():
            np.testing.assert_allclose(flatten(found)[path], sums, rtol=1e-4, atol=1e-4, err_msg=path)
        scores = logits(Decoder(tiny_model.config), streamed.head(), states[place])
        whole = tiny_model.apply({"params": tiny_model.params}, batch.tokens)
        np.testing.assert_allclose(scores, whole, rtol=1e-4, atol=1e-4)


def test_a_persona_changes_its_layer(tiny_model, streamed, batches):
    mask = jp.Masks.from_bool(jax.tree.map(lambda leaf: np.arange(leaf.size).reshape(leaf.shape) % 3 > 0, tiny_model.params))
    decoder, masked = Decoder(tiny_model.config), mask.apply(tiny_model.params)
    states = embed(streamed, decoder, [batches[0].tokens])
    for number, params in streamed.layers():
        states[0], _ = layer_step(decoder, params, states[0], flag_of(decoder, number), batches[0], mask.in_layer(number))
    found = logits(decoder, mask.at_head().apply(streamed.head()), states[0])
    expected = tiny_model.apply({"params": masked}, batches[0].tokens)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(expected) - tiny_model.apply({"params": tiny_model.params}, batches[0].tokens)).max() > 0.1
