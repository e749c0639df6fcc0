"""Hessians of a streamed model are those of the model in memory, layer by layer."""

import numpy as np

import jaxpersona as jp
from jaxpersona.calibration.hessians_streamed import collector


def test_each_layers_hessians_are_those_of_the_model_in_memory(tiny_model, streamed, pairs):
    expected = jp.calibrate(tiny_model, pairs).hessians
    texts = collector(streamed, jp.calibrate(streamed, pairs))
    states = texts.start(streamed)
    for number, params in streamed.layers():
        found = texts.layer(number, params, states)
        assert found.keys() == expected.keys()
        for site, value in found.items():
            np.testing.assert_array_equal(value[0], expected[site][number])
