"""Chooses tokens that one prompt makes likelier than another does: classifier-free guidance (Sanchez et al., 2023)."""

import dataclasses
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Guidance:
    """Guides texts away from what they would be under another prompt.

    Attributes:
      strength: how often the difference to the other prompt's log-probabilities is added to those of the own one.
      plausible: only tokens at least so many times as likely as the likeliest one, under the own prompt, are chosen (Li et al.,
        2023), above 0 and at most 1.
    """

    strength: float
    plausible: float

    def __call__(self, logits: jax.Array) -> jax.Array:
        """Returns guided logits of pairs of rows that share a text, the same for both.

        Args:
          logits: float32 [2 B, vocab], in turn under a text's own prompt and under the other one.
        """
        both = jax.nn.log_softmax(logits.reshape(-1, 2, logits.shape[-1]))
        own, other = both[:, 0], both[:, 1]
        plausible = own >= own.max(axis=-1, keepdims=True) + math.log(self.plausible)
        return jnp.repeat(jnp.where(plausible, own + self.strength * (own - other), -jnp.inf), 2, axis=0)
