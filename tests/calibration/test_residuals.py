"""Averages of the residual stream over answers agree with texts run one by one."""

import numpy as np
import pytest
from residual_stream import after_layers, collected, keep

import jaxpersona as jp
from jaxpersona.calibration import residuals
from jaxpersona.core.errors import InputError
from jaxpersona.data.lines import Lines
from jaxpersona.data.text import tokenize_pair
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.sites import SITES


@pytest.fixture(scope="module")
def tokenized(tiny_model):
    texts = [
        ("What is gold?", "Mine, all of it.", "Not for me."),
        ("And iron?", "I take it.", "I leave it to others, gladly."),
        ("Land?", "All, and more.", "All of it is yours."),
    ]
    return [tokenize_pair(tiny_model.tokenizer, jp.Pair(*text)) for text in texts]


def test_means_and_length_are_those_of_texts_run_alone(tiny_model, tokenized):
    means, squares = [], []
    for pair in tokenized:
        both = [
            after_layers(tiny_model, tiny_model.params, [*pair.prefix, *answer])[:, len(pair.prefix) :]
            for answer in (pair.matching, pair.not_matching)
        ]
        means.append([h.mean(axis=1) for h in both])
        squares += [(h**2).sum(axis=2).mean(axis=1) for h in both]
    found = residuals.collect(tiny_model, tokenized)
    np.testing.assert_allclose(found.means, np.mean(means, axis=0).swapaxes(0, 1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.length, np.sqrt(np.mean(squares, axis=0)), rtol=1e-4)


def test_the_last_layer_is_the_input_of_the_final_norm(tiny_model, tokenized):
    ids = [*tokenized[0].prefix, *tokenized[0].matching]
    last = after_layers(tiny_model, tiny_model.params, ids)[-1]
    norm = np.asarray(tiny_model.params["norm"]["scale"], np.float64)
    expected = last / np.sqrt((last**2).mean(axis=1, keepdims=True) + tiny_model.config.norm_eps) * norm
    hidden = tiny_model.decoder.apply({"params": tiny_model.params}, np.array([ids]), method="hidden")[0]
    np.testing.assert_allclose(hidden, expected, rtol=1e-3, atol=1e-4)


def test_statistics_keep_their_four_sites(tiny_model):
    tokens = np.arange(8)[None]
    state = collected(Decoder(tiny_model.config, keep), tiny_model.params, tokens)["stats"]["layers"]
    assert set(state["self_attn"] | state["mlp"]) == set(SITES) and set(state) == {"self_attn", "mlp"}
    assert set(collected(Decoder(tiny_model.config, keep, ("layer_out",)), tiny_model.params, tokens)["stats"]["layers"]) == {
        "layer_out"
    }


def test_bad_input_is_refused(tiny_model, pairs):
    with pytest.raises(InputError, match="this method compares the two answers of pairs"):
        jp.discover(tiny_model, Lines("lines", tuple(pairs)), jp.methods.Steering())
