"""Guided logits are those of NumPy, and guided texts those of full forward passes under two prompts."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.guidance import Guidance

STRENGTH, PLAUSIBLE = 3.0, 0.05


def expected(own, other):
    own, other = (logits - np.log(np.exp(logits).sum()) for logits in (own, other))
    return np.where(np.exp(own) >= PLAUSIBLE * np.exp(own).max(), own + STRENGTH * (own - other), -np.inf)


def test_logits_of_both_rows_are_those_of_numpy():
    rows = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    found = np.asarray(Guidance(STRENGTH, PLAUSIBLE)(rows))
    for row in (0, 2):
        np.testing.assert_allclose(found[row], expected(rows[row], rows[row + 1]), rtol=1e-4)
        np.testing.assert_array_equal(found[row], found[row + 1])
    assert np.isinf(found).any() and np.isfinite(found).any()


@pytest.mark.parametrize("guidance", [Guidance(STRENGTH, PLAUSIBLE), Guidance(0.0, PLAUSIBLE)], ids=["guided", "unguided"])
def test_both_prompts_get_the_text_that_the_own_one_has_and_the_other_has_not(tiny_model, guidance):
    model, (own, other) = dataclasses.replace(tiny_model, eos_ids=()), ([0, 40, 41, 42], [0, 7])
    found = generate_ids(model, model.params, [own, other], 6, jp.Sampling(), numbers=[0, 0], guidance=guidance)
    assert found[0] == found[1]
    forward = jax.jit(lambda rows: model.apply({"params": model.params}, rows))
    for said in range(6):
        rows, texts = np.zeros((2, 12), np.int32), [[*prompt, *found[0][:said]] for prompt in (own, other)]
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = text
        logits = guidance(np.asarray(forward(rows))[[0, 1], [len(text) - 1 for text in texts]])
        assert found[0][said] == int(np.argmax(logits[0]))
