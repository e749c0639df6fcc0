"""Row-wise methods measure strength and variance by the protocol, choose exactly K weights, and mask the head if it says so."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.protocol import OFFICIAL, STRICT
from jaxpersona.methods.row_scores import strength, variance
from jaxpersona.models.sites import HEAD


def test_strength_and_variance_are_over_tokens_or_over_texts(moments):
    texts = moments | {"norm": np.full((2, 6), 2.0), "norm_variance": np.full((2, 6), 3.0)}
    np.testing.assert_array_equal(strength(texts, STRICT), moments["mean_abs"])
    np.testing.assert_array_equal(strength(texts, OFFICIAL), texts["norm"])
    expected = np.maximum(moments["mean_square"].astype(float) - moments["mean_abs"].astype(float) ** 2, 0)
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(variance(texts, STRICT), expected, rtol=1e-6)
    np.testing.assert_array_equal(variance(texts, OFFICIAL), texts["norm_variance"])


def chosen(masks):
    return [np.flatnonzero(mask[:, 0]).tolist() for mask in masks]


def test_the_highest_scores_are_kept_and_ties_go_by_the_second_score_then_the_index():
    scores = jnp.asarray([[1.0], [2.0], [1.0], [1.0], [3.0], [0.0]])
    ties = jnp.asarray([[0.0], [0.0], [5.0], [0.0], [0.0], [9.0]])
    method, keep = jp.methods.Magnitude(), jnp.asarray(3)
    assert chosen(method.choose((scores, -scores), (ties, ties), keep, STRICT)) == [[1, 2, 4], [0, 2, 5]]
    assert chosen(method.choose((scores, -scores), None, keep, STRICT)) == [[0, 1, 4], [0, 2, 5]]


def test_blocks_have_budgets_of_their_own():
    scores = jnp.arange(300.0)[:, None]
    masks = jp.methods.Sparse().choose((scores, scores), None, jnp.asarray([2, 1, 1]), OFFICIAL)
    assert chosen(masks) == [[126, 127, 255, 299]] * 2


@pytest.mark.parametrize(
    ("method", "protocol", "masked"),
    [
        (jp.methods.Wanda(), OFFICIAL, True),
        (jp.methods.Wanda(select="mlp"), OFFICIAL, False),
        (jp.methods.Magnitude(), OFFICIAL, False),
        (jp.methods.Wanda(), STRICT, False),
    ],
)
def test_the_head_is_masked_where_method_protocol_and_selector_say_so(tiny_model, method, protocol, masked):
    assert (HEAD in method.masked(tiny_model.params, protocol)) == masked


def test_kept_weights_are_counted_by_layer_or_by_block():
    shapes = {"layers/mlp/up_proj/kernel": jnp.zeros((2, 300, 4))}
    assert jp.methods.Sparse(0.25).kept(shapes, STRICT)["layers/mlp/up_proj/kernel"].tolist() == [225, 225]
    assert jp.methods.Sparse(0.25).kept(shapes, OFFICIAL)["layers/mlp/up_proj/kernel"].tolist() == [[96, 96, 33]] * 2
