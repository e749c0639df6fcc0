"""SparseGPT agrees with its algorithm written out in NumPy, and with the exact answer where there is one."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxpersona as jp
from jaxpersona.core.protocol import STRICT
from jaxpersona.scores import sparsegpt

BLOCK = 128


def random_layer(rows, columns, seed=0):
    """Returns a kernel, and the second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(4 * rows, rows)) @ (np.eye(rows) + 0.3 * rng.normal(size=(rows, rows)) / rows**0.5)
    return rng.normal(size=(rows, columns)), h.T @ h / len(h)


def by_numpy(kernel, hessian, keep, damping):
    """Visits one input after the other in float64; elimination updates the inverse Hessian of the remaining inputs."""
    rows = len(kernel)
    inverse = np.linalg.inv(hessian + damping * np.mean(np.diag(hessian)) * np.eye(rows))
    weights, mask = kernel.copy(), np.zeros(kernel.shape, bool)
    for start in range(0, rows, BLOCK):
        end = min(start + BLOCK, rows)
        share = keep * end // rows - keep * start // rows
        costs, left = [], inverse.copy()
        for j in range(start, end):  # what each input of the block would cost once those before it are settled
            costs.append(weights[j] ** 2 / left[j, j])
            left -= np.outer(left[:, j], left[j]) / left[j, j]
        best = np.argsort(-np.array(costs), axis=0, kind="stable")[:share]
        np.put_along_axis(mask[start:end], best, True, axis=0)
        for j in range(start, end):
            error = np.where(mask[j], 0, weights[j]) / inverse[j, j]
            weights[j:] -= np.outer(inverse[j:, j], error)
            inverse -= np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return mask, np.where(mask, weights, 0)


@pytest.mark.parametrize(("rows", "keep"), [(40, 13), (128, 64), (300, 211)])
def test_masks_and_weights_follow_the_algorithm(rows, keep):
    kernel, hessian = random_layer(rows, 7)
    mask, weights = sparsegpt.solve(jnp.asarray(kernel, jnp.float32), jnp.asarray(hessian, jnp.float32), jnp.asarray(keep), 0.02)
    expected_mask, expected_weights = by_numpy(kernel, hessian, keep, 0.02)
    assert (np.asarray(mask) == expected_mask).mean() > 0.998  # float32 may decide near ties otherwise
    same = (np.asarray(mask) == expected_mask).all(axis=0)
    np.testing.assert_allclose(np.asarray(weights)[:, same], expected_weights[:, same], atol=2e-3)


@settings(max_examples=10, deadline=None)
@given(keep=st.integers(0, 150))
def test_every_output_keeps_exactly_k(keep):
    kernel, hessian = (jnp.asarray(part, jnp.float32) for part in random_layer(150, 3, seed=keep))
    mask, weights = sparsegpt.solve(kernel, hessian, jnp.asarray(keep))
    assert (mask.sum(axis=0) == keep).all()
    assert not np.asarray(weights)[~np.asarray(mask)].any()


def test_update_makes_up_for_what_is_removed():
    kernel, hessian = random_layer(200, 20, seed=3)
    mask, weights = sparsegpt.solve(jnp.asarray(kernel, jnp.float32), jnp.asarray(hessian, jnp.float32), jnp.asarray(100))

    def error(changed):
        difference = np.asarray(changed, np.float64) - kernel
        return np.einsum("io,ij,jo->", difference, hessian, difference)

    assert error(weights) < 0.95 * error(kernel * np.asarray(mask))


def test_independent_inputs_of_one_block_give_the_sparse_mask():
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(64, 5)), jnp.float32)
    square = jnp.asarray(np.random.default_rng(2).random(64), jnp.float32)
    mask, weights = sparsegpt.solve(kernel, jnp.diag(square), jnp.asarray(20), 0.01)
    score = jp.methods.Sparse().score(kernel, {"mean_square": jnp.stack([square, square])}, None, STRICT)
    assert (mask.sum(axis=0) == 20).all()
    assert (jnp.where(mask, score, jnp.inf).min(axis=0) > jnp.where(mask, 0, score).max(axis=0)).all()
    np.testing.assert_allclose(weights, kernel * mask, rtol=1e-5)  # there is nothing to make up with


def test_dead_site_gives_a_mask_without_nan():
    mask, weights = sparsegpt.solve(jnp.ones((130, 2)), jnp.zeros((130, 130)), jnp.asarray(65))
    assert (mask.sum(axis=0) == 65).all()
    assert np.isfinite(weights).all()
