"""Coordinate ascent agrees with NumPy, comes close to the best of all subsets, and keeps its invariants."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.masks import coordinate_ascent

choose = jax.jit(coordinate_ascent.choose, static_argnames="sweeps")


def problem(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(4 * rows, rows)) + rng.normal(size=rows)
    kernel, gain = rng.normal(size=(rows, columns)), rng.normal(size=(rows, columns))
    outputs = rng.uniform(0.1, 2, columns)
    return tuple(array.astype(np.float32) for array in (kernel, gain, samples.T @ samples / len(samples), outputs))


def value(kernel, gain, inputs, outputs, price, removed):
    lost = np.where(removed, kernel, 0).astype(np.float64)
    return np.sum(gain[removed]) - price * 0.5 * np.sum(lost * (inputs @ lost) * outputs)


def one_by_one(kernel, gain, inputs, outputs, price, sweeps):
    """Visits one input after another in float64, each output alone."""
    removed = np.zeros(kernel.shape)
    for row in list(range(len(kernel))) * sweeps:
        removed[row] = 0
        damage = outputs * (kernel[row] * (inputs[row] @ removed) + 0.5 * kernel[row] ** 2 * inputs[row, row])
        removed[row] = np.where(gain[row] > price * damage, kernel[row], 0)
    return removed != 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (7, 5), (64, 4), (130, 6)])
@pytest.mark.parametrize("sweeps", [1, 3])
def test_blocks_give_what_visiting_one_by_one_gives(rows, columns, sweeps):
    kernel, gain, inputs, outputs = problem(rows, columns)
    for price in (0.1, 1.0, 10.0):
        found = np.asarray(choose(kernel, gain, inputs, outputs, price, sweeps=sweeps))
        np.testing.assert_array_equal(found, one_by_one(kernel, gain, inputs, outputs, price, sweeps))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.05, 20))
def test_sweeps_raise_the_objective_to_where_no_single_change_helps(seed, price):
    kernel, gain, inputs, outputs = problem(12, 3, seed)
    values = []
    for sweeps in (1, 2, 30):
        found = np.asarray(choose(kernel, gain, inputs, outputs, price, sweeps=sweeps))
        values.append(value(kernel, gain, inputs, outputs, price, found))
    assert values[0] >= -1e-4 and values[0] <= values[1] + 1e-4 and values[1] <= values[2] + 1e-4
    for row, column in itertools.product(range(12), range(3)):
        changed = found.copy()
        changed[row, column] ^= True
        assert value(kernel, gain, inputs, outputs, price, changed) <= values[2] + 1e-3


def test_it_comes_close_to_the_best_of_all_subsets():
    reached = best = 0.0
    for seed in range(20):
        kernel, gain, inputs, outputs = problem(8, 1, seed)
        subsets = [np.array(bits, bool)[:, None] for bits in itertools.product([0, 1], repeat=8)]
        best += max(value(kernel, gain, inputs, outputs, 1.0, subset) for subset in subsets)
        found = np.asarray(choose(kernel, gain, inputs, outputs, 1.0, sweeps=5))
        reached += value(kernel, gain, inputs, outputs, 1.0, found)
    assert reached >= 0.9 * best


def test_weights_that_must_stay_stay_and_an_infinite_price_removes_nothing():
    kernel, gain, inputs, outputs = problem(16, 4)
    gain[:, 1] = -np.inf
    assert not np.asarray(choose(kernel, gain, inputs, outputs, 0.0))[:, 1].any()
    np.testing.assert_array_equal(np.asarray(choose(kernel, gain, inputs, outputs, 0.0)), gain > 0)
    assert not np.asarray(choose(kernel, gain, inputs, outputs, 1e30)).any()


def test_without_correlations_each_weight_is_judged_alone():
    kernel, gain, inputs, outputs = problem(20, 4)
    inputs = np.diag(np.diag(inputs))
    alone = gain > 0.5 * kernel**2 * np.diag(inputs)[:, None] * outputs
    np.testing.assert_array_equal(np.asarray(choose(kernel, gain, inputs, outputs, 1.0)), alone)
