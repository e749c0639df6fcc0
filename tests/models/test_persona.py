"""Masks, masks with updated weights, and steering vectors follow the interface of a persona."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.tree import flatten
from jaxpersona.masks.steering_vectors import SteeringVectors
from jaxpersona.masks.weight_update import WeightUpdate
from jaxpersona.models.sites import kernels


def some_masks(params):
    rng = np.random.default_rng(0)
    return jp.Masks.from_bool({**jax.tree.map(lambda leaf: rng.random(leaf.shape) < 0.7, params), "lm_head": {"kernel": True}})


PERSONAS = {
    "masks": some_masks,
    "updated weights": lambda params: WeightUpdate(some_masks(params), {p: 0.5 * k for p, k in kernels(params).items()}),
    "vectors": lambda params: SteeringVectors(jnp.asarray(np.random.default_rng(1).normal(size=(3, 32)), jnp.float32)),
}


@pytest.mark.parametrize("kind", PERSONAS)
def test_a_layers_part_changes_that_layer_as_the_whole_does(tiny_model, kind):
    params, persona = tiny_model.params, PERSONAS[kind](tiny_model.params)
    whole, base = flatten(persona.apply(params)), flatten(params)
    assert any(not np.array_equal(whole[path], base.get(path, 0)) for path in whole)
    for number in range(3):
        layer = {"layers": jax.tree.map(lambda leaf, n=number: leaf[n : n + 1], params["layers"])}
        for path, leaf in flatten(persona.in_layer(number).apply(layer)).items():
            np.testing.assert_array_equal(leaf[0], whole[path][number])


@pytest.mark.parametrize("kind", PERSONAS)
def test_gamma_leads_from_the_persona_towards_the_base_model(tiny_model, kind):
    params, persona = tiny_model.params, PERSONAS[kind](tiny_model.params)
    near, full, base = (flatten(tree) for tree in (persona.apply(params, 0.75), persona.apply(params), params))
    for path, leaf in near.items():
        np.testing.assert_allclose(leaf, 0.25 * full[path] + 0.75 * base.get(path, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", PERSONAS)
def test_the_head_is_unchanged_unless_it_is_masked(tiny_model, kind):
    assert PERSONAS[kind](tiny_model.params).at_head() is None
    everywhere = jp.Masks.from_bool(
        jax.tree.map(lambda leaf: np.arange(leaf.size).reshape(leaf.shape) % 2 == 0, tiny_model.params)
    )
    head = everywhere.at_head().apply({"lm_head": tiny_model.params["lm_head"]})
    np.testing.assert_array_equal(head["lm_head"]["kernel"], everywhere.apply(tiny_model.params)["lm_head"]["kernel"])
