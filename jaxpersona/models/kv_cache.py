"""The KV cache: keys and values of earlier tokens, in the layout that attention multiplies (``decoder.attend``)."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.models.config import ModelConfig


def empty_cache(config: ModelConfig, batch: int, length: int, dtype: Any) -> dict[str, Any]:
    """Returns zeros: k [layer, batch, KV heads, head_dim, length] and v [layer, batch, KV heads, length, head_dim].

    In these layouts no product transposes its operands. With keys in the layout of values, attention to a cache took 1.2 to 1.5
    times as long on a CPU.
    """
    sizes = (config.num_layers, batch, config.num_kv_heads)
    k, v = (jnp.zeros((*sizes, *shape), dtype) for shape in ((config.head_dim, length), (length, config.head_dim)))
    return {"layers": {"self_attn": {"k": k, "v": v}}}


def cache_length(cache: Any) -> int:
    """Returns the number of tokens that a cache, or each of several, has room for."""
    paths = jax.tree_util.tree_leaves_with_path(cache)
    return next(leaf.shape[-1] for path, leaf in paths if path[-1].key == "k")
