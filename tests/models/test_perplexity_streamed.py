"""The perplexity of a streamed model is that of the model in memory, under any persona."""

import jax.numpy as jnp
import pytest
from conftest import recorded

import jaxpersona as jp
from jaxpersona.data.neutral_text import read_text
from jaxpersona.models.perplexity import perplexity, windows
from jaxpersona.models.perplexity_streamed import perplexities


@pytest.mark.parametrize(
    ("method", "protocol"),
    [
        (jp.methods.Wanda(), "strict"),
        (jp.methods.Wanda(sparsity=0.6), "official"),
        (jp.methods.Steering(strength=3.0), "strict"),
        (jp.methods.SparseGPT(update=True), "strict"),
    ],
    ids=["masks", "masked head", "vectors", "updated weights"],
)
def test_perplexity_under_personas(tiny_model, streamed, pairs, method, protocol):
    masks = jp.discover(tiny_model, pairs, method, protocol=protocol).masks
    tokens = windows(tiny_model, read_text("builtin:neutral"), 256, 128)
    found = perplexities(streamed, {"none": None, **masks}, tokens)
    expected = {name: perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), tokens) for name, mask in masks.items()}
    expected["none"] = perplexity(tiny_model, tiny_model.params, tokens)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len({round(value, 3) for value in found.values()}) == 3


def test_progress_counts_layers(streamed):
    stage, steps = recorded()
    perplexities(streamed, {"none": None}, jnp.ones((2, 16), jnp.int32), stage)
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
