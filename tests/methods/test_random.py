"""Random is a control that needs no statistics."""

import jax
import numpy as np

import jaxpersona as jp
from jaxpersona.core.protocol import STRICT


def test_draws_depend_on_the_key_alone(kernel):
    assert jp.methods.Random.needs == ()
    draws = [jp.methods.Random().score(kernel, None, jax.random.key(seed), STRICT) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
