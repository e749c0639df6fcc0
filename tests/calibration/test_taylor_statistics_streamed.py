"""Gradient and factors of a streamed model are those of the model in memory."""

import jax
import numpy as np
import pytest
from conftest import LITTLE

import jaxpersona as jp
from jaxpersona.calibration import taylor_statistics, taylor_statistics_streamed
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import QUIET
from jaxpersona.data.lines import Lines


def test_gradient_and_factors_are_those_of_the_model_in_memory(tiny_model, streamed, pairs):
    calibration = jp.calibrate(streamed, pairs, generated=LITTLE)
    expected = taylor_statistics.collect(tiny_model, calibration.tokenized, amount=LITTLE)
    shared = taylor_statistics.collect_shared(tiny_model, calibration.tokenized, 0.4, 0.2)
    found = taylor_statistics_streamed.collect(streamed, calibration, MappedArrays(QUIET, streamed.scratch), (0.4, 0.2))
    bfloat16 = 2**-7  # sums that differ by rounding may become neighbouring numbers, which lie up to this far apart
    parts = (
        (found.margin, expected.margin, bfloat16),
        (found.shared, shared, bfloat16),
        (found.factors, expected.factors, 1e-4),
    )
    for ours, theirs, tolerance in parts:
        jax.tree.map(lambda a, b, rtol=tolerance: close(a, b, rtol), ours, theirs)


def close(ours, theirs, rtol):
    ours, theirs = (np.asarray(each, np.float32) for each in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-5 * np.abs(theirs).max())


def test_single_texts_are_refused(streamed, pairs):
    with pytest.raises(jp.InputError, match="this method compares the two answers of pairs"):
        jp.discover(streamed, Lines("lines", tuple(pairs)), jp.methods.Taylor(), generated=LITTLE)
