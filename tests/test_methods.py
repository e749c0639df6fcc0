"""Methods by name, their settings, and what each scores by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.errors import InputError
from jaxpersona.methods import METHODS, by_name

KERNEL = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
MOMENTS = {
    "mean_abs": np.arange(1, 7, dtype=np.float32),
    "mean": np.zeros(6, np.float32),
    "mean_square": np.arange(6, 0, -1, dtype=np.float32) ** 2,
}


def test_every_method_is_found_by_its_name():
    assert set(METHODS) == {"wanda", "magnitude", "random", "first_order", "steering"}
    assert all(by_name(name).name == name for name in METHODS)


def test_settings_reach_the_method_and_none_keeps_the_default():
    method = by_name(
        "wanda", sparsity=0.5, activation="rms", select="mlp", overrides={"mlp@0": 0.1}, max_perplexity_increase=None
    )
    assert method == jp.methods.Wanda(0.5, "mlp", {"mlp@0": 0.1}, "rms")
    assert by_name("wanda", sparsity=None, activation=None) == jp.methods.Wanda()
    assert (jp.methods.Wanda().sparsity, jp.methods.Wanda().activation) == (0.3, "abs")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("wnada", {}, "method.name 'wnada' is unknown; did you mean 'wanda'"),
        ("stearing", {}, "did you mean 'steering'"),
        ("wanda", {"max_perplexity_increase": 0.1}, "method wanda has no setting 'max_perplexity_increase'; it has: activation"),
        ("magnitude", {"activation": "abs"}, "method magnitude has no setting 'activation'"),
        ("wanda", {"activation": "max"}, "activation 'max' of method wanda is unknown; known: abs, rms"),
        ("random", {"sparsity": 1.0}, "sparsity is 1.0"),
        ("wanda", {"select": "mpl"}, "did you mean 'mlp'"),
    ],
)
def test_by_name_refuses(name, settings, message):
    with pytest.raises(InputError, match=message):
        by_name(name, **settings)


@pytest.mark.parametrize("overrides", [{"mlp": 0.5, "q_proj@0": 0.1}, (("mlp", 0.5), ("q_proj@0", 0.1))])
def test_overrides_are_kept_in_order_and_hashable(overrides):
    method = jp.methods.Magnitude(overrides=overrides)
    assert method.overrides == (("mlp", 0.5), ("q_proj@0", 0.1))
    assert hash(method) == hash(jp.methods.Magnitude(overrides=overrides))
    assert dataclasses.replace(method, sparsity=0.1).overrides == method.overrides


@pytest.mark.parametrize(("activation", "strength"), [("abs", [1, 2, 3, 4, 5, 6]), ("rms", [6, 5, 4, 3, 2, 1])])
def test_wanda_scores_by_the_strength_it_was_told(activation, strength):
    found = jp.methods.Wanda(activation=activation).score(jnp.asarray(KERNEL), MOMENTS, jax.random.key(0))
    np.testing.assert_allclose(found, np.abs(KERNEL) * np.array(strength, np.float32)[:, None], rtol=1e-6)


def test_controls_need_no_statistics():
    assert jp.methods.Wanda.needs == ("statistics",)
    assert jp.methods.Magnitude.needs == jp.methods.Random.needs == ()
    np.testing.assert_array_equal(jp.methods.Magnitude().score(jnp.asarray(KERNEL), None, jax.random.key(0)), np.abs(KERNEL))
    draws = [jp.methods.Random().score(jnp.asarray(KERNEL), None, jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
