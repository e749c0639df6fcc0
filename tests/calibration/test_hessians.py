"""Second moments agree with NumPy, and with the moments of the same texts."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.models.sites import SITES


def test_outer_sums_follow_their_definition():
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(2, 30, 5)), jnp.bfloat16)
    weights = rng.integers(0, 2, (3, 2, 30)).astype(np.float32)
    wide = np.asarray(h, np.float64)
    expected = [sum(weights[p, b, t] * np.outer(wide[b, t], wide[b, t]) for b in range(2) for t in range(30)) for p in range(3)]
    np.testing.assert_allclose(outer_sums(h, jnp.asarray(weights)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_diagonal_is_the_mean_square_of_the_statistics(tiny_model, pairs, protocol):
    calibration = jp.calibrate(tiny_model, pairs, protocol=protocol)
    for site in SITES:
        found = np.asarray(calibration.hessians[site])
        np.testing.assert_allclose(found, found.swapaxes(2, 3), rtol=1e-4, atol=1e-5)
        diagonal = np.diagonal(found, axis1=2, axis2=3)
        np.testing.assert_allclose(diagonal, calibration.statistics.moments[site]["mean_square"], rtol=1e-4)
