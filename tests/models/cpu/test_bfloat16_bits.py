"""Compact parameters hold bfloat16 as integers, and the decoder runs on them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxpersona as jp
from jaxpersona.models.cpu import bfloat16_bits
from jaxpersona.models.decoder import compute_dtype

FINITE = st.floats(-(2.0**126), 2.0**126, width=32, allow_subnormal=False)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (2, 3, 5), elements=FINITE))
def test_kernels_are_transposed_and_rounded_as_bfloat16(kernel):
    found = bfloat16_bits.compact({"a": {"kernel": kernel}})["a"]["kernel"]
    assert bfloat16_bits.is_compact(found)
    expected = np.asarray(jnp.asarray(kernel).astype(jnp.bfloat16).astype(jnp.float32)).swapaxes(1, 2)
    np.testing.assert_array_equal(bfloat16_bits.widen(found), expected)


def test_norms_and_biases_stay():
    params = {"norm": {"scale": jnp.ones(3)}, "q": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    found = bfloat16_bits.compact(params)
    assert found["norm"]["scale"].dtype == found["q"]["bias"].dtype == jnp.float32


@pytest.mark.parametrize("rows", [(), (1,), (2, 1), (1, 7)])
def test_products_are_those_of_the_rounded_weights(rows):
    rng = np.random.default_rng(0)
    kernel, x = rng.standard_normal((31, 17)).astype(np.float32), rng.standard_normal((*rows, 31)).astype(np.float32)
    found = bfloat16_bits.matmul(jnp.asarray(x), bfloat16_bits.compact({"a": {"kernel": kernel}})["a"]["kernel"])
    rounded = np.asarray(jnp.asarray(kernel).astype(jnp.bfloat16)).astype(np.float64)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, x @ rounded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("vocabulary", [1, 23, 48, 53])
def test_logits_of_any_vocabulary(vocabulary):
    rng = np.random.default_rng(1)
    embedding, x = rng.standard_normal((vocabulary, 8)).astype(np.float32), rng.standard_normal((2, 3, 8)).astype(np.float32)
    found = bfloat16_bits.logits(jnp.asarray(x), bfloat16_bits.compact({"a": {"embedding": embedding}})["a"]["embedding"])
    rounded = np.asarray(jnp.asarray(embedding).astype(jnp.bfloat16)).astype(np.float64)
    np.testing.assert_allclose(found, x @ rounded.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_the_decoder_computes_in_float32_with_rounded_weights(tiny_folder, tied):
    model = jp.load_model(str(tiny_folder), "float32")
    if tied:
        params = {name: value for name, value in model.params.items() if name != "lm_head"}
        model = dataclasses.replace(model, params=params, config=dataclasses.replace(model.config, tied_embeddings=True))
    tokens = jnp.arange(12).reshape(2, 6)
    small = bfloat16_bits.compact(model.params)
    rounded = jax.tree.map(
        lambda leaf, half: leaf.astype(jnp.bfloat16).astype(jnp.float32) if bfloat16_bits.is_compact(half) else leaf,
        model.params,
        small,
    )
    assert compute_dtype(small) == jnp.float32
    np.testing.assert_allclose(
        model.apply({"params": small}, tokens), model.apply({"params": rounded}, tokens), rtol=1e-4, atol=1e-4
    )


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 9)),
    personas=st.integers(1, 19),
    soft=st.booleans(),
    seed=st.integers(0, 99),
)
def test_masked_products_are_those_of_each_sequences_own_weights(sizes, personas, soft, seed):
    (batch, length, inner, outer), rng = sizes, np.random.default_rng(seed)
    kernel, keep = rng.standard_normal((inner, outer)).astype(np.float32), rng.random((personas, inner, outer)) < 0.6
    kernel[~keep.any(axis=0)] = np.nan  # what everyone removes reaches nobody
    removed = np.zeros((-(-personas // 8), outer, inner), np.uint8)
    for persona in range(personas):
        removed[persona // 8] |= (~keep[persona].T).astype(np.uint8) << persona % 8
    ids = rng.integers(-1, personas, batch).astype(np.int32)
    gamma = np.where(rng.random(batch) < 0.5, 0, 0.5).astype(np.float32) * np.isfinite(kernel).all() if soft else None
    x = rng.standard_normal((batch, length, inner)).astype(np.float32)
    matrix = bfloat16_bits.compact({"a": {"kernel": kernel}})["a"]["kernel"]
    found = bfloat16_bits.masked_matmul(jnp.asarray(x), matrix, jnp.asarray(removed), jnp.asarray(ids), gamma)
    weights = np.asarray(bfloat16_bits.widen(matrix)).T.astype(np.float64)
    for row in range(batch):
        share = 0.0 if gamma is None else float(gamma[row])
        own = np.where(keep[ids[row]], weights, share * weights if share else 0) if ids[row] >= 0 else 0 * keep[0]
        np.testing.assert_allclose(found[row], x[row] @ own, rtol=1e-4, atol=1e-4)


def test_a_place_past_the_removal_bits_keeps_all_weights():
    matrix = bfloat16_bits.compact({"a": {"kernel": jnp.ones((3, 2))}})["a"]["kernel"]
    removed = jnp.full((1, 2, 3), 255, jnp.uint8)
    found = bfloat16_bits.masked_matmul(jnp.ones((2, 1, 3)), matrix, removed, jnp.array([8, 7]))
    np.testing.assert_array_equal(found[:, 0], [[3, 3], [0, 0]])
