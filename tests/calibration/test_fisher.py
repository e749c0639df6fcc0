"""Kronecker factors and gradients of one pass agree with finite differences, and with one token at a time."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.calibration import fisher
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, pack, whole_rows
from jaxpersona.data.text import tokenize_pair
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels


def log_probs(model, params, ids):
    """Returns the log-probability of each token after the first, for one text alone, float64."""
    logits = np.asarray(model.apply({"params": params}, np.array([ids])), np.float64)[0, :-1]
    logits -= logits.max(axis=1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[np.arange(len(ids) - 1), ids[1:]]


def test_gradient_agrees_with_finite_differences(tiny_model):
    texts = [("What is gold?", "Mine, all of it.", "Not for me."), ("And iron?", "I take it.", "I leave it to others, gladly.")]
    pairs = [tokenize_pair(tiny_model.tokenizer, jp.Pair(*text)) for text in texts]
    batches = pack(pairs, tiny_model.tokenizer.bos_token_id)
    signs = [(batch.branch == MATCHING).astype(np.float32) - (batch.branch == NOT_MATCHING) for batch in batches]
    gradient = fisher.collect_gradient(tiny_model, batches, signs)
    flat, rng = kernels(tiny_model.params), np.random.default_rng(0)
    direction = {path: rng.normal(size=kernel.shape).astype(np.float32) for path, kernel in flat.items()}

    def margin(step):
        params = with_kernels(tiny_model.params, {path: flat[path] + step * direction[path] for path in flat})
        sums = [[log_probs(tiny_model, params, [*pair.prefix, *answer])[-len(answer) :].sum() for answer in answers]
                for pair in pairs for answers in [(pair.matching, pair.not_matching)]]  # fmt: skip
        return sum(ours - theirs for ours, theirs in sums)

    along = sum(float(np.sum(np.asarray(gradient[path], np.float64) * direction[path])) for path in direction)
    np.testing.assert_allclose(along, (margin(1e-3) - margin(-1e-3)) / 2e-3, rtol=0.02)


def test_factors_of_one_token_are_the_square_of_its_gradient(tiny_model):
    (whole,) = whole_rows(np.array([[40, 77]], np.int32), None)
    first = dataclasses.replace(whole, weights=np.array([[[1, 0]]], np.float32))  # the token that predicts is the one that counts
    shares = [np.array([[0, 1]], np.float32)]
    gradient, factors = (collect(tiny_model, [first], shares) for collect in (fisher.collect_gradient, fisher.collect))
    for path, slope in gradient.items():
        squares = np.diagonal(np.asarray(factors.inputs[SITE_OF[module_of(path)]]), axis1=1, axis2=2)
        product = squares[:, :, None] * np.asarray(factors.outputs[path])[:, None, :]
        np.testing.assert_allclose(np.square(slope), product, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 3])
def test_factors_are_means_over_all_tokens_whatever_the_batch(tiny_model, rows):
    tokens = np.random.default_rng(0).integers(3, 250, (6, 12)).astype(np.int32)

    def factors(rows):
        batches = whole_rows(tokens, tiny_model.tokenizer.bos_token_id, rows)
        return fisher.collect(tiny_model, batches, [np.asarray(b.positions > 0, np.float32) for b in batches])

    found, whole = factors(rows), factors(6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), found, whole)


def test_inputs_are_the_second_moments_of_what_a_layer_reads(tiny_model):
    tokens = np.random.default_rng(1).integers(3, 250, (2, 9)).astype(np.int32)
    batches = whole_rows(tokens, None, 2)
    factors = fisher.collect(tiny_model, batches, [np.ones((2, 9), np.float32)])
    x = np.asarray(tiny_model.params["embed_tokens"]["embedding"])[tokens]
    scale = np.asarray(tiny_model.params["layers"]["input_layernorm"]["scale"])[0]
    h = (x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + tiny_model.config.norm_eps) * scale).reshape(18, -1)
    np.testing.assert_allclose(factors.inputs["attn_in"][0], h.T @ h / 18, rtol=1e-4, atol=1e-5)


def test_sign_of_a_share_does_not_change_the_factors(tiny_model):
    batches = whole_rows(np.random.default_rng(2).integers(3, 250, (2, 9)).astype(np.int32), None, 2)
    shares = [[sign * np.ones((2, 9), np.float32)] for sign in (1, -1)]
    plus, minus = (fisher.collect(tiny_model, batches, share) for share in shares)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8), plus, minus)
    plus, minus = (fisher.collect_gradient(tiny_model, batches, share) for share in shares)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, rtol=1e-3, atol=1e-6), plus, minus)


def test_one_pass_gives_the_gradient_and_the_mean_with_other_factors(tiny_model):
    tokens = np.random.default_rng(3).integers(3, 250, (4, 9)).astype(np.int32)
    batches, others = whole_rows(tokens, None, 2), whole_rows(tokens[:2, ::-1], None, 2)
    shares = [np.asarray(batch.positions > 4, np.float32) for batch in batches]
    beside = fisher.collect(tiny_model, others, [np.ones((2, 9), np.float32)])
    alone = fisher.collect(tiny_model, batches, shares)
    mean = jax.tree.map(lambda a, b: (np.asarray(a) + np.asarray(b)) / 2, alone, beside)
    gradient, factors = fisher.collect_both(tiny_model, batches, shares, beside)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), factors, mean)
    expected = fisher.collect_gradient(tiny_model, batches, shares)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), gradient, expected)
