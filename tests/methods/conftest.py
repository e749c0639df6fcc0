"""Provides one kernel of six inputs, and the moments of its inputs for two personas."""

import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="session")
def kernel():
    """Returns random weights, float32 [6, 4]."""
    return jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)


@pytest.fixture(scope="session")
def moments():
    """Returns moments [persona, 6] by name."""
    return {
        "mean_abs": np.array([[1, 2, 3, 4, 5, 6], [3, 3, 3, 3, 3, 3]], np.float32),
        "mean": np.zeros((2, 6), np.float32),
        "mean_square": np.array([[6, 5, 4, 3, 2, 1], [7, 8, 9, 10, 11, 12]], np.float32) ** 2,
    }
