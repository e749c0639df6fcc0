"""Compact parameters: bfloat16 held as integers, and the decoder that reads them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxpersona as jp
from jaxpersona.models import compact
from jaxpersona.models.decoder import compute_dtype

FINITE = st.floats(-(2.0**126), 2.0**126, width=32, allow_subnormal=False)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (2, 3, 5), elements=FINITE))
def test_kernels_are_transposed_and_rounded_as_bfloat16(kernel):
    found = compact.compact({"a": {"kernel": kernel}})["a"]["kernel"]
    assert compact.is_compact(found)
    expected = np.asarray(jnp.asarray(kernel).astype(jnp.bfloat16).astype(jnp.float32)).swapaxes(1, 2)
    np.testing.assert_array_equal(compact.widen(found), expected)


def test_norms_and_biases_stay():
    params = {"norm": {"scale": jnp.ones(3)}, "q": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    found = compact.compact(params)
    assert found["norm"]["scale"].dtype == found["q"]["bias"].dtype == jnp.float32


@pytest.mark.parametrize("rows", [(), (1,), (2, 1), (1, 7)])
def test_products_are_those_of_the_rounded_weights(rows):
    rng = np.random.default_rng(0)
    kernel, x = rng.standard_normal((31, 17)).astype(np.float32), rng.standard_normal((*rows, 31)).astype(np.float32)
    found = compact.matmul(jnp.asarray(x), compact.compact({"a": {"kernel": kernel}})["a"]["kernel"])
    rounded = np.asarray(jnp.asarray(kernel).astype(jnp.bfloat16)).astype(np.float64)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, x @ rounded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("vocabulary", [1, 23, 48, 53])
def test_logits_of_any_vocabulary(vocabulary):
    rng = np.random.default_rng(1)
    embedding, x = rng.standard_normal((vocabulary, 8)).astype(np.float32), rng.standard_normal((2, 3, 8)).astype(np.float32)
    found = compact.logits(jnp.asarray(x), compact.compact({"a": {"embedding": embedding}})["a"]["embedding"])
    rounded = np.asarray(jnp.asarray(embedding).astype(jnp.bfloat16)).astype(np.float64)
    np.testing.assert_allclose(found, x @ rounded.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_the_decoder_computes_in_float32_with_rounded_weights(tiny_folder, tied):
    model = jp.load_model(str(tiny_folder), "float32")
    if tied:
        params = {name: value for name, value in model.params.items() if name != "lm_head"}
        model = dataclasses.replace(model, params=params, config=dataclasses.replace(model.config, tied_embeddings=True))
    tokens = jnp.arange(12).reshape(2, 6)
    small = compact.compact(model.params)
    rounded = jax.tree.map(
        lambda leaf, half: leaf.astype(jnp.bfloat16).astype(jnp.float32) if compact.is_compact(half) else leaf,
        model.params,
        small,
    )
    assert compute_dtype(small) == jnp.float32
    np.testing.assert_allclose(
        model.apply({"params": small}, tokens), model.apply({"params": rounded}, tokens), rtol=1e-4, atol=1e-4
    )
