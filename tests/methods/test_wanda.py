"""Wanda scores weights by their size times the strength of their input."""

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import OFFICIAL, STRICT


@pytest.mark.parametrize(("activation", "strength"), [("abs", [1, 2, 3, 4, 5, 6]), ("rms", [6, 5, 4, 3, 2, 1])])
def test_scores_are_weight_times_the_strength_of_choice(kernel, moments, activation, strength):
    found = jp.methods.Wanda(activation=activation).score(kernel, moments, jax.random.key(0), STRICT)
    np.testing.assert_allclose(found, np.abs(kernel) * np.array(strength, np.float32)[:, None], rtol=1e-6)


def test_statistics_are_needed():
    assert jp.methods.Wanda.needs == ("statistics",)


def test_the_root_mean_square_is_refused_where_whole_texts_are_measured():
    with pytest.raises(InputError, match="protocol official measures activation by the norm of each text"):
        jp.methods.Wanda(activation="rms").check(OFFICIAL)
    jp.methods.Wanda(activation="rms").check(STRICT)


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match="activation 'max' of method wanda is unknown; known: abs, rms"):
        jp.methods.Wanda(activation="max")
