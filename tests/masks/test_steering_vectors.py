"""Steering vectors change parameters as if they were added after each layer; they have an algebra and a place on disk."""

import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import write_model
from residual_stream import after_layers, some_vectors

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import flatten
from jaxpersona.data.text import tokenize_pair
from jaxpersona.masks.steering_vectors import SteeringVectors, cosine
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.model import fingerprint
from jaxpersona.models.safetensors import SafetensorsSource
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import load_params

BIAS = "layers/mlp/down_proj/bias"


def test_steered_parameters_add_the_vector_after_the_layer(tiny_model):
    """The stream after a layer is the layer's output for the stream before it, plus the vector."""
    pair = tokenize_pair(tiny_model.tokenizer, jp.Pair("What is gold?", "Mine, all of it.", "Not for me."))
    ids, added = [*pair.prefix, *pair.matching], some_vectors(tiny_model)
    steered = jp.apply_mask(tiny_model.params, added)
    base, found = (after_layers(tiny_model, params, ids) for params in (tiny_model.params, steered))
    np.testing.assert_allclose(found[0], base[0] + np.asarray(added.vectors[0]), rtol=1e-4, atol=1e-4)
    last = SteeringVectors(added.vectors.at[:-1].set(0))
    found = after_layers(tiny_model, jp.apply_mask(tiny_model.params, last), ids)
    np.testing.assert_allclose(found[:-1], base[:-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[-1], base[-1] + np.asarray(added.vectors[-1]), rtol=1e-4, atol=1e-4)
    # gamma reduces the strength, and the base parameters are unchanged
    half = after_layers(tiny_model, jp.apply_mask(tiny_model.params, last, gamma=0.5), ids)
    np.testing.assert_allclose(half[-1], base[-1] + 0.5 * np.asarray(added.vectors[-1]), rtol=1e-4, atol=1e-4)
    assert BIAS not in flatten(tiny_model.params)


def test_a_norm_behind_the_mlp_is_no_obstacle():
    """In Gemma models the vector is added behind the norm between MLP and residual stream."""
    folder = pathlib.Path(__file__).parents[1] / "golden" / "gemma3"
    config = ModelConfig.from_hf(json.loads((folder / "config.json").read_text()))
    gemma = types.SimpleNamespace(config=config, params=load_params(SafetensorsSource(folder), config, np.float32))
    last = SteeringVectors(some_vectors(gemma).vectors.at[:-1].set(0))
    base, found = (after_layers(gemma, params, [3, 1, 4, 1, 5]) for params in (gemma.params, jp.apply_mask(gemma.params, last)))
    np.testing.assert_allclose(found[:-1], base[:-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[-1], base[-1] + np.asarray(last.vectors[-1]), rtol=1e-4, atol=1e-4)


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


def test_algebra(tiny_model):
    a, b = some_vectors(tiny_model), some_vectors(tiny_model, 1)
    np.testing.assert_allclose((a + 2.0 * b).vectors, np.asarray(a.vectors) + 2 * np.asarray(b.vectors), rtol=1e-6)
    np.testing.assert_array_equal((-a).vectors, -np.asarray(a.vectors))
    np.testing.assert_allclose(a.norms(), np.sqrt((np.asarray(a.vectors, np.float64) ** 2).sum(axis=1)))
    assert cosine(a, a) == pytest.approx(1) and cosine(a, -a) == pytest.approx(-1)
    assert cosine(a, 0.0 * a) == 0
    expected = np.corrcoef(np.stack([np.ravel(a.vectors), np.ravel(b.vectors)]))[0, 1]
    assert cosine(a, b) == pytest.approx(expected, abs=0.02)


def test_bad_input_is_refused(tiny_model):
    with pytest.raises(InputError, match="do not fit"):
        jp.apply_mask(tiny_model.params, SteeringVectors(jnp.zeros((3, 31))))
    with pytest.raises(InputError, match="gamma"):
        jp.apply_mask(tiny_model.params, some_vectors(tiny_model), gamma=1.0)


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
