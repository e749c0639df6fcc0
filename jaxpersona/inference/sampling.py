"""Choosing the next token from logits: greedy, temperature, top-k and top-p."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxpersona.errors import InputError


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
      temperature: 0 takes the likeliest token; otherwise logits are divided by it.
      top_k: draw only from the k likeliest tokens; 0 means all.
      top_p: draw only from the smallest set of likeliest tokens whose probability reaches top_p, in (0, 1].
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; it must be 0 (greedy) or above")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}; it must be 0 (all tokens) or above")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must lie in (0, 1]")


def sample(logits: jax.Array, keys: jax.Array, sampling: Sampling) -> jax.Array:
    """Draws one token a row.

    Args:
      logits: float32 [B, vocab].
      keys: random keys [B], one a row, so that a row's draw does not depend on the others.

    Returns:
      int32 [B].
    """
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = _restrict(logits / sampling.temperature, sampling)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def _restrict(logits: jax.Array, sampling: Sampling) -> jax.Array:
    """Sets the logits outside top-k and top-p to minus infinity; the likeliest token always stays."""
    if not sampling.top_k and sampling.top_p == 1:
        return logits
    descending = jnp.sort(logits, axis=-1, descending=True)
    before = jnp.cumsum(jax.nn.softmax(descending, axis=-1), axis=-1) - jax.nn.softmax(descending, axis=-1)
    allowed = before < sampling.top_p
    if sampling.top_k:
        allowed &= jnp.arange(logits.shape[-1]) < sampling.top_k
    floor = jnp.min(jnp.where(allowed, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= floor, logits, -jnp.inf)
