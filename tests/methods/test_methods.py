"""Methods by name, their settings, and what each scores by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import OFFICIAL, PAPER, STRICT
from jaxpersona.methods.methods import METHODS, by_name

KEY = jax.random.key(0)
KERNEL = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
MOMENTS = {
    "mean_abs": np.array([[1, 2, 3, 4, 5, 6], [3, 3, 3, 3, 3, 3]], np.float32),
    "mean": np.zeros((2, 6), np.float32),
    "mean_square": np.array([[6, 5, 4, 3, 2, 1], [7, 8, 9, 10, 11, 12]], np.float32) ** 2,
}


def test_every_method_is_found_by_its_name():
    assert set(METHODS) == {
        *("wanda", "sparse", "sparsegpt", "contrastive_wanda", "contrastive_sparse", "magnitude", "random", "first_order"),
        "steering",
    }
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
        (
            "contrastive_wanda",
            {"activation": "abs"},
            "activation 'abs' of method contrastive_wanda is unknown; known: relu",
        ),
        ("contrastive_wanda", {"temperature": 2.0}, "temperature is a setting of activation softplus"),
        ("contrastive_wanda", {"activation": "softplus", "temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ("contrastive_wanda", {"eps": -1.0}, "eps is -1.0; it must be above 0"),
        (
            "contrastive_sparse",
            {"policy": "second"},
            "policy 'second' of method contrastive_sparse is unknown; known: none",
        ),
        ("sparse", {"damping": -0.1}, "damping is -0.1; it must not be negative"),
        ("sparsegpt", {"damping": 0.0}, "damping is 0.0; it must be above 0"),
        ("sparse", {"update": True}, "method sparse has no setting 'update'"),
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
    found = jp.methods.Wanda(activation=activation).score(jnp.asarray(KERNEL), MOMENTS, KEY, STRICT)
    np.testing.assert_allclose(found, np.abs(KERNEL) * np.array(strength, np.float32)[:, None], rtol=1e-6)


def test_controls_need_no_statistics():
    assert jp.methods.Wanda.needs == ("statistics",)
    assert jp.methods.Magnitude.needs == jp.methods.Random.needs == ()
    np.testing.assert_array_equal(jp.methods.Magnitude().score(jnp.asarray(KERNEL), None, KEY, STRICT), np.abs(KERNEL))
    draws = [jp.methods.Random().score(jnp.asarray(KERNEL), None, jax.random.key(seed), STRICT) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("method", "protocol", "message"),
    [
        (jp.methods.Wanda(activation="rms"), OFFICIAL, "protocol official measures activation by the norm of each text"),
        (jp.methods.SparseGPT(), OFFICIAL, "protocol official has no full SparseGPT; what its scripts call so is method sparse"),
        (jp.methods.ContrastiveSparse(0.4), STRICT, r"disjoint masks \(policy argmax\) need a sparsity of at least 0.5, not 0.4"),
        (jp.methods.ContrastiveSparse(0.6, overrides={"mlp": 0.3}), PAPER, "not 0.3; or use policy none"),
        (jp.methods.ContrastiveSparse(0.4, policy="first"), STRICT, r"\(policy first\)"),
    ],
)
def test_settings_that_contradict_the_protocol_are_refused(method, protocol, message):
    with pytest.raises(InputError, match=message):
        method.check(protocol)


def test_settings_that_fit_the_protocol_are_taken():
    for method in (jp.methods.Wanda(activation="rms"), jp.methods.SparseGPT(), jp.methods.ContrastiveSparse(0.4, policy="none")):
        method.check(STRICT)
    jp.methods.ContrastiveSparse(0.3).check(OFFICIAL)


def test_sparse_is_the_saliency_of_a_damped_diagonal_hessian():
    square = MOMENTS["mean_square"][0].astype(np.float64)
    inverse = np.linalg.inv(np.diag(square) + 0.05 * square.mean() * np.eye(6))
    found = jp.methods.Sparse(damping=0.05).score(jnp.asarray(KERNEL), MOMENTS, KEY, STRICT)
    np.testing.assert_allclose(found, KERNEL**2 / np.diag(inverse)[:, None], rtol=1e-5)


@pytest.mark.parametrize(("activation", "temperature"), [("relu", None), ("softplus", None), ("softplus", 0.5)])
def test_contrastive_wanda_is_equation_8_on_token_moments(activation, temperature):
    strength = MOMENTS["mean_abs"].astype(np.float64)
    variance = np.maximum(MOMENTS["mean_square"] - strength**2, 0)
    z = (strength[0] - strength[1]) / (np.sqrt(variance.sum(axis=0)) + 1e-6)
    gate = np.maximum(z, 0) if activation == "relu" else np.log1p(np.exp(z / (temperature or 1)))
    method = jp.methods.ContrastiveWanda(activation=activation, temperature=temperature)
    found = method.score(jnp.asarray(KERNEL), MOMENTS, KEY, STRICT)
    np.testing.assert_allclose(found, np.abs(KERNEL) * gate[:, None], rtol=1e-5)


def test_contrastive_sparse_is_equation_9():
    damped = MOMENTS["mean_square"] + 0.01 * MOMENTS["mean_square"].mean(axis=1, keepdims=True)
    shares = KERNEL**2 * damped[:, :, None]
    shares /= shares.sum(axis=1, keepdims=True)
    found = jp.methods.ContrastiveSparse().score(jnp.asarray(KERNEL), MOMENTS, KEY, STRICT)
    np.testing.assert_allclose(found, shares[0] - shares[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("policy", ["none", "argmax", "first"])
def test_policies_of_contrastive_sparse_on_ties(policy):
    scores = jnp.asarray([[3.0], [0.0], [0.0], [0.0], [0.0], [-1.0]])
    ties = jnp.asarray([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    method = jp.methods.ContrastiveSparse(policy=policy)
    masks = method.choose((scores, -scores), (ties, ties), jnp.asarray(3), STRICT)
    expected = {"none": ([0, 3, 4], [3, 4, 5]), "argmax": ([0, 3, 4], [1, 2, 5]), "first": ([0, 3, 4], [1, 2, 5])}[policy]
    assert [np.flatnonzero(mask[:, 0]).tolist() for mask in masks] == list(expected)
