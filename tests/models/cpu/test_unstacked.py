"""Unstacked parameters have arrays for each layer, and give the decoder's results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.models.cpu import unstacked
from jaxpersona.models.decoder import Decoder, compute_dtype


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layers_are_the_slices_of_the_stack_and_only_matrices_are_rounded(golden, dtype):
    params = golden("qwen2").params
    found = unstacked.unstack(params, dtype)
    assert unstacked.is_unstacked(found)
    assert not unstacked.is_unstacked(params)
    assert len(found["layers"]) == params["layers"]["input_layernorm"]["scale"].shape[0]
    for number, layer in enumerate(found["layers"]):
        mlp, attention = layer["mlp"], layer["self_attn"]
        expected = params["layers"]["mlp"]["up_proj"]["kernel"][number : number + 1].astype(dtype)
        np.testing.assert_array_equal(mlp["up_proj"]["kernel"].astype(jnp.float32), expected.astype(jnp.float32))
        assert attention["q_proj"]["kernel"].dtype == dtype
        assert attention["q_proj"]["bias"].dtype == layer["input_layernorm"]["scale"].dtype == jnp.float32
    assert found["embed_tokens"] is params["embed_tokens"]
    assert compute_dtype(found) == jnp.float32


@pytest.mark.parametrize("name", ["llama3", "mistral", "gemma2", "gemma3"])
def test_hidden_states_and_caches_are_those_of_the_stack(golden, name):
    model, length = golden(name), 9
    batch, decoder = model.tokens.shape[0], Decoder(model.config)
    params = unstacked.unstack(model.params, jnp.float32)
    caches = unstacked.empty_caches(model.config, batch, length, jnp.float32)
    positions = jnp.broadcast_to(jnp.arange(length), (batch, length))
    inputs = {"positions": positions, "visible": positions[..., None] >= jnp.arange(length)}
    found, caches = unstacked.hidden(decoder, params, caches, model.tokens[:, :length], inputs)
    expected = decoder.apply({"params": model.params}, model.tokens[:, :length], method="hidden")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(caches))
    assert len(caches) == model.config.num_layers


def test_products_with_rounded_matrices_are_summed_in_float32(golden):
    """Compares with stacked float32 parameters: only matrices and the inputs of products are rounded."""
    model = golden("llama_linear")
    decoder, length = Decoder(model.config, dtype=jnp.float32), model.tokens.shape[1]
    params = unstacked.unstack(model.params, jnp.bfloat16)
    caches = unstacked.empty_caches(model.config, len(model.tokens), length, jnp.float32)
    positions = jnp.broadcast_to(jnp.arange(length), model.tokens.shape)
    inputs = {"positions": positions, "visible": positions[..., None] >= jnp.arange(length)}
    found, _ = unstacked.hidden(decoder, params, caches, model.tokens, inputs)
    expected = np.asarray(decoder.apply({"params": model.params}, model.tokens, method="hidden"))
    assert found.dtype == jnp.float32
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)
