"""Masks keep exactly K per column, as a sort does, and K agrees with decimal arithmetic."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxpersona.ops import topk

SHAPE = (7, 4)
FEW = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, np.float32(1e-40), np.float32(3.4e38), np.inf, -np.inf])
ANY = st.floats(width=32, allow_nan=False)
SCORES = hnp.arrays(np.float32, SHAPE, elements=FEW | ANY)
KEEP = hnp.arrays(np.int32, SHAPE[1], elements=st.integers(0, SHAPE[0]))
top_k_mask = jax.jit(topk.top_k_mask)


def sorted_top_k(scores, keep, tie_break=None):
    rows, columns = scores.shape
    mask = np.zeros(scores.shape, bool)
    for column, count in zip(range(columns), np.broadcast_to(keep, columns), strict=True):
        second = np.zeros(rows) if tie_break is None else -tie_break[:, column]
        order = np.lexsort((np.arange(rows), second, -scores[:, column]))
        mask[order[:count], column] = True
    return mask


@settings(deadline=None, max_examples=60)
@given(scores=SCORES, keep=KEEP)
def test_keeps_the_largest_and_of_equal_ones_those_of_lower_index(scores, keep):
    np.testing.assert_array_equal(top_k_mask(scores, keep), sorted_top_k(scores, keep))


@settings(deadline=None, max_examples=60)
@given(scores=hnp.arrays(np.float32, SHAPE, elements=FEW), tie_break=hnp.arrays(np.float32, SHAPE, elements=FEW), keep=KEEP)
def test_second_score_decides_between_equal_ones(scores, tie_break, keep):
    np.testing.assert_array_equal(top_k_mask(scores, keep, tie_break), sorted_top_k(scores, keep, tie_break))


@pytest.mark.parametrize("keep", [0, 1, 3, 7])
def test_one_budget_serves_all_columns(keep):
    scores = np.random.default_rng(keep).normal(size=SHAPE).astype(np.float32)
    found = np.asarray(top_k_mask(scores, keep))
    assert (found.sum(axis=0) == keep).all()
    np.testing.assert_array_equal(found, sorted_top_k(scores, keep))


def test_positive_and_negative_zero_tie():
    scores = np.array([[-0.0], [0.0], [-0.0], [0.0]], np.float32)
    np.testing.assert_array_equal(topk.top_k_mask(scores, 2)[:, 0], [True, True, False, False])


@given(st.lists(ANY | FEW, min_size=12, max_size=12))
@settings(deadline=None, max_examples=40)
def test_ordered_bits_order_as_floats_do(values):
    values = np.array(values, np.float32)
    bits = np.asarray(topk.ordered_bits(values))
    np.testing.assert_array_equal(bits[:, None] < bits, values[:, None] < values)
    np.testing.assert_array_equal(bits[:, None] == bits, values[:, None] == values)


def test_bfloat16_scores_are_ordered_by_their_values():
    scores = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.bfloat16)
    np.testing.assert_array_equal(topk.top_k_mask(scores, 3), sorted_top_k(np.asarray(scores, np.float32), 3))


def test_budget_is_exact_on_a_decimal_grid():
    for thousandths in range(0, 1000):
        sparsity = decimal.Decimal(thousandths) / 1000
        for rows in (1, 2, 3, 10, 48, 100, 576, 1000, 1536, 14336):
            exact = int(((1 - sparsity) * rows).to_integral_value(decimal.ROUND_FLOOR))
            assert topk.budget(rows, float(sparsity)) == max(1, exact)


def test_budget_of_tiny_and_huge_sparsity():
    assert topk.budget(576, 1e-9) == 575
    assert topk.budget(576, 0.999999) == 1
    assert topk.budget(10**9, 1e-9) == 10**9 - 1
