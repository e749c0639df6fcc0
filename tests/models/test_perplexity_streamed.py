"""Perplexity read a layer at a time is that of the model in memory, under any persona."""

import jax.numpy as jnp
import pytest

import jaxpersona as jp
from jaxpersona.methods.methods import Steering, Wanda
from jaxpersona.data.neutral_text import read_text
from jaxpersona.models.perplexity import perplexity, windows
from jaxpersona.models.perplexity_streamed import perplexities


@pytest.mark.parametrize(
    ("method", "protocol"),
    [(Wanda(), "strict"), (Wanda(sparsity=0.6), "official"), (Steering(strength=3.0), "strict")],
    ids=["masks", "masked head", "vectors"],
)
def test_perplexity_under_personas(tiny_model, tiny_folder, pairs, method, protocol):
    masks = jp.discover(tiny_model, pairs, method, protocol=protocol).masks
    tokens = windows(tiny_model, read_text("builtin:neutral"), 256, 128)
    found = perplexities(jp.load_streamed(str(tiny_folder), "float32"), {"none": None, **masks}, tokens)
    expected = {name: perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), tokens) for name, mask in masks.items()}
    expected["none"] = perplexity(tiny_model, tiny_model.params, tokens)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len({round(value, 3) for value in found.values()}) == 3


def test_progress_counts_layers(tiny_folder):
    steps = []
    tokens = jnp.ones((2, 16), jnp.int32)
    perplexities(jp.load_streamed(str(tiny_folder)), {"none": None}, tokens, lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
