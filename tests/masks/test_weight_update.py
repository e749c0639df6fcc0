"""Updated weights are applied in full or in part, and refused by another model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.masks.steering_vectors import SteeringVectors
from jaxpersona.masks.weight_update import WeightUpdate, masks_of
from jaxpersona.models.sites import kernels


@pytest.fixture(scope="module")
def updated(tiny_model):
    rng = np.random.default_rng(0)
    masks = jp.Masks.from_bool(jax.tree.map(lambda leaf: rng.random(leaf.shape) < 0.7, tiny_model.params))
    kept = kernels(masks.to_bool())
    return WeightUpdate(masks, {path: jnp.where(kept[path], 2 * leaf, 0) for path, leaf in kernels(tiny_model.params).items()})


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_weights_are_a_part_of_the_way_back_to_the_models(tiny_model, updated, gamma):
    found, base = jp.apply_mask(tiny_model.params, updated, gamma), kernels(tiny_model.params)
    for path, kernel in kernels(found).items():
        expected = (1 - gamma) * np.asarray(updated.kernels[path]) + gamma * np.asarray(base[path])
        np.testing.assert_allclose(kernel, expected, atol=1e-6)
    assert found["embed_tokens"]["embedding"] is tiny_model.params["embed_tokens"]["embedding"]


def test_another_models_are_refused(tiny_model, updated):
    fewer = jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim == 3 else leaf, tiny_model.params)
    with pytest.raises(jp.InputError, match="does not fit the model"):
        jp.apply_mask(fewer, updated)


def test_masks_are_found_in_every_persona_that_has_some(updated):
    assert masks_of(updated) is updated.masks and masks_of(updated.masks) is updated.masks
    assert masks_of(SteeringVectors(jnp.zeros((1, 2)))) is None


def test_a_bundle_keeps_masks_and_weights(tiny_model, updated, tmp_path):
    jp.save_masks(tmp_path / "seek", updated, {"fingerprint": tiny_model.fingerprint})
    loaded = jp.load_masks(tmp_path / "seek", tiny_model)
    assert jax.tree.structure(loaded) == jax.tree.structure(updated)
    jax.tree.map(np.testing.assert_array_equal, loaded, updated)
