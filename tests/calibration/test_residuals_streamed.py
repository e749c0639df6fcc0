"""Averages of the residual stream of a streamed model are those of the model in memory, bit by bit."""

import numpy as np
import pytest
from conftest import recorded

import jaxpersona as jp
from jaxpersona.calibration import residuals_streamed
from jaxpersona.core.errors import InputError
from jaxpersona.data.lines import Lines


def test_averages_are_those_of_the_model_in_memory(tiny_model, streamed, pairs):
    stage, steps = recorded()
    found = residuals_streamed.collect(streamed, jp.calibrate(streamed, pairs), stage)
    expected = jp.calibrate(tiny_model, pairs).residuals
    np.testing.assert_array_equal(found.means, expected.means)
    np.testing.assert_array_equal(found.length, expected.length)
    assert steps == [(done, 3) for done in range(4)]


def test_single_texts_are_refused(streamed, pairs):
    with pytest.raises(InputError, match="this method compares the two answers of pairs"):
        jp.discover(streamed, Lines("lines", tuple(pairs)), jp.methods.Steering())
