"""Magnitude is a control that needs no statistics."""

import jax
import numpy as np

import jaxpersona as jp
from jaxpersona.core.protocol import STRICT


def test_scores_are_absolute_weights_and_need_no_statistics(kernel):
    assert jp.methods.Magnitude.needs == ()
    np.testing.assert_array_equal(jp.methods.Magnitude().score(kernel, None, jax.random.key(0), STRICT), np.abs(kernel))
