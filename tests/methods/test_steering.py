"""Steering: vectors against activations read text by text, steered parameters against a vector added by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import write_model

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import flatten
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.methods.methods import Steering
from jaxpersona.methods.steering import SteeringVectors, collect_residuals, cosine, layer_of, steer
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import fingerprint
from jaxpersona.models.sites import SITES, kernels

LENGTH = 128
BIAS = "layers/mlp/down_proj/bias"


@pytest.fixture(scope="module")
def tokenized(tiny_model):
    texts = [
        ("What is gold?", "Mine, all of it.", "Not for me."),
        ("And iron?", "I take it.", "I leave it to others, gladly."),
        ("Land?", "All, and more.", "All of it is yours."),
    ]
    return [tokenize_pair(tiny_model.tokenizer, jp.Pair(*text)) for text in texts]


@pytest.fixture(scope="module")
def residuals(tiny_model, tokenized):
    return collect_residuals(tiny_model, tokenized)


def keep(h, weights):
    return h


@jax.jit(static_argnums=0)
def _after_layers(decoder, params, tokens):
    weights = jnp.ones((1, *tokens.shape))
    return decoder.apply({"params": params}, tokens, weights=weights, mutable=["stats"], method="hidden")[1]


def after_layers(model, params, ids):
    """The residual stream after every layer for one text alone, float64 [layer, token, hidden]."""
    tokens = np.zeros((1, LENGTH), np.int32)
    tokens[0, : len(ids)] = ids
    state = _after_layers(Decoder(model.config, keep, ("layer_out",)), params, tokens)
    return np.asarray(state["stats"]["layers"]["layer_out"][:, 0, : len(ids)], np.float64)


def some_vectors(model, seed=0):
    shape = (model.config.num_layers, model.config.hidden_size)
    return SteeringVectors(jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32))


def test_vectors_are_mean_differences_of_texts_read_alone(tiny_model, tokenized, residuals):
    differences, squares = [], []
    for pair in tokenized:
        ours, theirs = (
            after_layers(tiny_model, tiny_model.params, [*pair.prefix, *answer])[:, len(pair.prefix) :]
            for answer in (pair.matching, pair.not_matching)
        )
        differences.append(ours.mean(axis=1) - theirs.mean(axis=1))
        squares += [(h**2).sum(axis=2).mean(axis=1) for h in (ours, theirs)]
    expected = np.mean(differences, axis=0)
    for layer in range(3):
        seek, reject = (steer(Steering(layer, 2.0), residuals, persona) for persona in (0, 1))
        np.testing.assert_allclose(seek.vectors[layer], 2 * expected[layer], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(reject.vectors, -seek.vectors)
        assert np.count_nonzero(seek.norms()) == 1
    np.testing.assert_allclose(residuals.length, np.sqrt(np.mean(squares, axis=0)), rtol=1e-4)


def test_the_last_layer_is_what_the_final_norm_reads(tiny_model, tokenized):
    ids = [*tokenized[0].prefix, *tokenized[0].matching]
    last = after_layers(tiny_model, tiny_model.params, ids)[-1]
    norm = np.asarray(tiny_model.params["norm"]["scale"], np.float64)
    expected = last / np.sqrt((last**2).mean(axis=1, keepdims=True) + tiny_model.config.norm_eps) * norm
    hidden = tiny_model.decoder.apply({"params": tiny_model.params}, np.array([ids]), method="hidden")[0]
    np.testing.assert_allclose(hidden, expected, rtol=1e-3, atol=1e-4)


def test_steered_parameters_add_the_vector_after_the_layer(tiny_model, tokenized):
    """In every layer the residual stream is what the layer makes of the stream before it, plus the vector."""
    ids, added = [*tokenized[0].prefix, *tokenized[0].matching], some_vectors(tiny_model)
    steered = jp.apply_mask(tiny_model.params, added)
    base, found = (after_layers(tiny_model, params, ids) for params in (tiny_model.params, steered))
    np.testing.assert_allclose(found[0], base[0] + np.asarray(added.vectors[0]), rtol=1e-4, atol=1e-4)
    last = SteeringVectors(added.vectors.at[:-1].set(0))
    found = after_layers(tiny_model, jp.apply_mask(tiny_model.params, last), ids)
    np.testing.assert_allclose(found[:-1], base[:-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[-1], base[-1] + np.asarray(added.vectors[-1]), rtol=1e-4, atol=1e-4)
    # gamma takes strength away, and the base is untouched
    half = after_layers(tiny_model, jp.apply_mask(tiny_model.params, last, gamma=0.5), ids)
    np.testing.assert_allclose(half[-1], base[-1] + 0.5 * np.asarray(added.vectors[-1]), rtol=1e-4, atol=1e-4)
    assert BIAS not in flatten(tiny_model.params)


def test_a_bias_the_model_has_is_added_to(tmp_path):
    model = jp.load_model(str(write_model(tmp_path / "tiny")))
    first, second = some_vectors(model), some_vectors(model, 1)
    twice = flatten(jp.apply_mask(jp.apply_mask(model.params, first), second))
    np.testing.assert_allclose(twice[BIAS], first.vectors + second.vectors, rtol=1e-6)


def test_kernels_masks_and_fingerprint_do_not_see_the_bias(tiny_model):
    steered = jp.apply_mask(tiny_model.params, some_vectors(tiny_model))
    assert list(kernels(steered)) == list(kernels(tiny_model.params))
    assert fingerprint(steered) == tiny_model.fingerprint
    rng = np.random.default_rng(0)
    mask = jp.Masks.from_bool(jax.tree.map(lambda leaf: rng.random(leaf.shape) < 0.7, tiny_model.params))
    both, masked = jp.apply_mask(steered, mask), jp.apply_mask(tiny_model.params, mask)
    assert flatten(both).pop(BIAS) is flatten(steered)[BIAS]
    for path, kernel in kernels(masked).items():
        np.testing.assert_array_equal(kernels(both)[path], kernel)


def test_statistics_keep_their_four_sites(tiny_model):
    tokens = np.arange(8)[None]
    state = _after_layers(Decoder(tiny_model.config, keep), tiny_model.params, tokens)["stats"]["layers"]
    assert set(state["self_attn"] | state["mlp"]) == set(SITES) and set(state) == {"self_attn", "mlp"}
    assert set(_after_layers(Decoder(tiny_model.config, keep, ("layer_out",)), tiny_model.params, tokens)["stats"]["layers"]) == {
        "layer_out"
    }


def test_steering_moves_the_margin_and_generation_runs(tiny_model, tokenized, residuals):
    def margin(params):
        scores = score_answers(tiny_model, params, tokenized).log_prob
        return (scores[:, 0] - scores[:, 1]).mean()

    seek, reject = (steer(Steering(layer=2, strength=0.3), residuals, persona) for persona in (0, 1))
    base = margin(tiny_model.params)
    assert margin(jp.apply_mask(tiny_model.params, seek)) > base > margin(jp.apply_mask(tiny_model.params, reject))
    assert len(jp.generate(tiny_model, ["Gold?"], persona=20 * seek, max_new_tokens=4)) == 1


def test_algebra(tiny_model):
    a, b = some_vectors(tiny_model), some_vectors(tiny_model, 1)
    np.testing.assert_allclose((a + 2.0 * b).vectors, np.asarray(a.vectors) + 2 * np.asarray(b.vectors), rtol=1e-6)
    np.testing.assert_array_equal((-a).vectors, -np.asarray(a.vectors))
    np.testing.assert_allclose(a.norms(), np.sqrt((np.asarray(a.vectors, np.float64) ** 2).sum(axis=1)))
    assert cosine(a, a) == pytest.approx(1) and cosine(a, -a) == pytest.approx(-1)
    assert cosine(a, 0.0 * a) == 0
    expected = np.corrcoef(np.stack([np.ravel(a.vectors), np.ravel(b.vectors)]))[0, 1]
    assert cosine(a, b) == pytest.approx(expected, abs=0.02)


def test_bad_input_is_refused(tiny_model, residuals, tokenized, tmp_path):
    for strength in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="above 0"):
            Steering(strength=strength)
    for layer in (-1, 3):
        with pytest.raises(InputError, match="layers 0 to 2"):
            steer(Steering(layer=layer), residuals, 0)
    with pytest.raises(InputError, match="do not fit"):
        jp.apply_mask(tiny_model.params, SteeringVectors(jnp.zeros((3, 31))))
    with pytest.raises(InputError, match="gamma"):
        jp.apply_mask(tiny_model.params, some_vectors(tiny_model), gamma=1.0)
    params = {**tiny_model.params, "layers": {**tiny_model.params["layers"], "post_feedforward_layernorm": {}}}
    with pytest.raises(InputError, match="Gemma"):
        some_vectors(tiny_model).apply(params)
    with pytest.raises(InputError, match="Gemma"):
        collect_residuals(dataclasses.replace(tiny_model, params=params), tokenized)


def test_default_layer_is_the_middle():
    assert (layer_of(Steering(), 30), layer_of(Steering(), 3), layer_of(Steering(layer=0), 3)) == (15, 1, 0)


def test_vectors_come_back_from_disk_and_damage_is_refused(tiny_model, other_folder, tmp_path):
    vectors = some_vectors(tiny_model)
    jp.save_masks(tmp_path / "seek", vectors, {"persona": "seek", "fingerprint": tiny_model.fingerprint})
    found = jp.load_masks(tmp_path / "seek", tiny_model)
    assert isinstance(found, SteeringVectors)
    np.testing.assert_array_equal(found.vectors, vectors.vectors)
    with pytest.raises(InputError, match="other weights"):
        jp.load_masks(tmp_path / "seek", jp.load_model(str(other_folder)))
    damaged = next(path for path in (tmp_path / "seek" / "vectors").rglob("*") if path.is_file())
    damaged.write_bytes(b"damaged")
    with pytest.raises(InputError, match="damaged"):
        jp.load_masks(tmp_path / "seek")
