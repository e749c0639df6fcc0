"""Moments of a streamed model, joined over its layers, are those of the model in memory."""

import pytest

import jaxpersona as jp
from jaxpersona.calibration.moments_streamed import collector, joined
from jaxpersona.core.protocol import PROTOCOLS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_joined_moments_are_those_of_the_model_in_memory(tiny_model, streamed, pairs, protocol):
    expected = jp.calibrate(tiny_model, pairs, protocol=protocol).statistics
    texts = collector(streamed, jp.calibrate(streamed, pairs, protocol=protocol))
    states = texts.start(streamed)
    parts = [texts.layer(number, params, states) for number, params in streamed.layers()]
    if PROTOCOLS[protocol].prune_head:
        parts.append(texts.head(streamed.part("norm"), states))
    assert joined(parts).digest == expected.digest
