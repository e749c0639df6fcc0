"""Text is generated from the fastest form of parameters, and all forms agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.models import cached_forward, decoding
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.sampling import Sampling


def test_one_text_is_generated_compact_and_several_apart_under_dtype_auto(tiny_folder, monkeypatch):
    """Holds on a CPU, for a persona's parameters as well; under another dtype parameters keep their form."""
    seen, original = [], decoding._decode

    def spy(decoder, eos, steps, params, *rest, **options):
        seen.append(cached_forward.form_of(params))
        return original(decoder, eos, steps, params, *rest, **options)

    monkeypatch.setattr(decoding, "_decode", spy)
    auto, plain = jp.load_model(str(tiny_folder)), jp.load_model(str(tiny_folder), "float32")
    masked = jax.tree.map(lambda leaf: leaf * 0.5, auto.params)
    cases = [
        (auto, auto.params, 1),
        (auto, masked, 1),
        (auto, auto.params, 2),
        (auto, masked, 3),
        (plain, plain.params, 1),
        (plain, plain.params, 2),
    ]
    for model, params, rows in cases:
        decoding.generate_ids(model, params, [[5, 6]] * rows, 2, Sampling())
    assert seen == ["compact", "compact", "unstacked", "unstacked", "stacked", "stacked"]


def test_parameters_of_the_model_are_converted_once_and_others_anew(tiny_folder):
    model = jp.load_model(str(tiny_folder))
    other = jax.tree.map(lambda leaf: leaf + 0, model.params)
    for form in ("compact", "unstacked"):
        mine = cached_forward.in_form(model, model.params, form)
        assert cached_forward.form_of(mine) == form
        assert cached_forward.in_form(model, model.params, form) is mine
        assert cached_forward.in_form(model, other, form) is not mine
        assert cached_forward.in_form(model, mine, "compact") is cached_forward.in_form(model, mine, "unstacked") is mine
    assert cached_forward.in_form(model, model.params, "stacked") is model.params


@pytest.mark.parametrize("form", ["stacked", "unstacked"])
def test_next_logits_are_those_of_a_whole_pass(tiny_model, form):
    model, rows, length = tiny_model, 2, 12
    tokens, decoder = np.random.default_rng(0).integers(3, 200, (rows, length)), Decoder(model.config)
    params = model.params if form == "stacked" else cached_forward.unstacked.unstack(model.params, jnp.float32)
    cache = cached_forward.empty_cache_for(form, model.config, rows, length, jnp.float32)
    expected = np.asarray(decoder.apply({"params": model.params}, tokens))
    for start, stop in ((0, 10), (10, 11), (11, 12)):
        positions = jnp.broadcast_to(jnp.arange(start, stop), (rows, stop - start))
        visible, last = jnp.arange(length) <= positions[..., None], jnp.full(rows, stop - start - 1)
        logits, cache = cached_forward.next_logits(decoder, params, cache, tokens[:, start:stop], positions, visible, last)
        np.testing.assert_allclose(logits, expected[:, stop - 1], rtol=0, atol=5e-4)
