"""Importance scores agree with the same formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.scores import importance

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(2, 5, 3)).astype(np.float32)
STRENGTH = RNG.random((2, 5)).astype(np.float32)


def test_wanda_is_absolute_weight_times_strength_of_its_input():
    found = importance.wanda(jnp.asarray(KERNEL), jnp.asarray(STRENGTH))
    for layer, row, column in np.ndindex(KERNEL.shape):
        assert found[layer, row, column] == np.float32(abs(KERNEL[layer, row, column]) * STRENGTH[layer, row])


def test_wanda_of_bfloat16_weights_multiplies_in_float32():
    kernel = jnp.asarray(KERNEL[0], jnp.bfloat16)
    found = importance.wanda(kernel, jnp.asarray(STRENGTH[0]))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.abs(np.asarray(kernel, np.float32)) * STRENGTH[0][:, None])


def test_wanda_refuses_strength_of_the_outputs():
    with pytest.raises(ValueError, match=r"strength has shape \(3,\), the kernel's inputs \(5,\)"):
        importance.wanda(jnp.asarray(KERNEL[0]), jnp.ones(3))


def test_magnitude_is_the_absolute_weight_in_float32():
    found = importance.magnitude(jnp.asarray(KERNEL, jnp.bfloat16))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.abs(np.asarray(jnp.asarray(KERNEL, jnp.bfloat16), np.float32)))


def test_random_depends_on_the_key_alone():
    first = importance.random(jnp.asarray(KERNEL), jax.random.key(1))
    np.testing.assert_array_equal(first, importance.random(jnp.zeros(KERNEL.shape), jax.random.key(1)))
    assert first.shape == KERNEL.shape
    assert not np.array_equal(first, importance.random(jnp.asarray(KERNEL), jax.random.key(2)))
