"""A streamed model generates the text of the model in memory."""

import numpy as np
from conftest import recorded

from jaxpersona.calibration import generated_text, generated_text_streamed
from jaxpersona.calibration.generated_text import TextAmount


def test_text_is_that_of_the_model_in_memory(tiny_model, streamed):
    stage, steps = recorded()
    found = generated_text_streamed.generate(streamed, TextAmount(5, 24), 3, stage)
    np.testing.assert_array_equal(found, generated_text.generate(tiny_model, TextAmount(5, 24), 3))
    assert steps[-1] == (24, 24)
