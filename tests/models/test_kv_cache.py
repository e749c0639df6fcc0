"""The KV cache has room for every layer, row and head, and knows its length in every form."""

import jax.numpy as jnp

from jaxpersona.models.config import ModelConfig, Rope
from jaxpersona.models.cpu import unstacked
from jaxpersona.models.kv_cache import cache_length, empty_cache

CONFIG = ModelConfig("LlamaForCausalLM", 50, 24, 20, 3, 4, 2, 6, 64, 1e-5, Rope())


def test_keys_lie_by_channel_and_values_by_token():
    cache = empty_cache(CONFIG, 5, 7, jnp.bfloat16)["layers"]["self_attn"]
    assert cache["k"].shape == (3, 5, 2, 6, 7) and cache["v"].shape == (3, 5, 2, 7, 6)
    assert {leaf.dtype for leaf in cache.values()} == {jnp.dtype(jnp.bfloat16)}


def test_length_is_that_of_all_layers_together_or_apart():
    assert cache_length(empty_cache(CONFIG, 5, 7, jnp.float32)) == 7
    assert cache_length(unstacked.empty_caches(CONFIG, 5, 7, jnp.float32)) == 7
