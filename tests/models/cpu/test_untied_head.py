"""A tied head as a kernel of its own gives the same logits."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.models.cpu.untied_head import untied, with_head
from jaxpersona.models.decoder import Decoder


@pytest.mark.parametrize("name", ["smollm", "llama3"])
def test_logits_are_the_same(golden, name):
    """Holds for a tied and an untied head."""
    model = golden(name)
    decoder = Decoder(model.config)
    found = untied(decoder).apply({"params": with_head(model.params, jnp.float32)}, model.tokens)
    expected = decoder.apply({"params": model.params}, model.tokens)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_head_alone_is_rounded(golden):
    model = golden("smollm")
    found = with_head(model.params, jnp.bfloat16)
    embedding = model.params["embed_tokens"]["embedding"]
    assert found["embed_tokens"]["embedding"] is embedding
    np.testing.assert_array_equal(found["lm_head"]["kernel"], embedding.T.astype(jnp.bfloat16))
    assert dataclasses.replace(model.config, tied_embeddings=False) == untied(Decoder(model.config)).config
