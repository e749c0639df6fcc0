"""Base class of row-wise methods, which score every weight and keep the highest-scored weights of every output."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxpersona.core.protocol import Protocol
from jaxpersona.core.tree import Params
from jaxpersona.methods.row_budget import RowBudget
from jaxpersona.models.sites import kernels, kernels_and_head
from jaxpersona.ops import topk

Moments = Mapping[str, jax.Array]
"""Moments [2, in] at one layer's site by name (``calibration/moments.py``): of the persona being scored, and of its opposite."""
Couple = tuple[jax.Array, jax.Array]
"""One array [in, out] per persona."""


@dataclasses.dataclass(frozen=True)
class RowScores(RowBudget):
    """A method that scores each weight and keeps the highest-scored ones of every output."""

    prunes_head: ClassVar[bool] = False
    """True if the method masks the LM head under protocols that mask it."""

    def masked(self, params: Params, protocol: Protocol) -> dict[str, jax.Array]:
        """Returns the kernels to mask, [layer, in, out] by path."""
        head = protocol.prune_head and self.prunes_head and self.select == "all"
        return kernels_and_head(params) if head else kernels(params)

    def by_output(self, protocol: Protocol) -> bool:
        """Returns True if the scores of an output's weights do not depend on the kernel's other outputs."""
        return True

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Scores the weights of one layer's kernel for one persona.

        Args:
          kernel: [in, out].
          moments: of the kernel's inputs, the persona being scored first; None for methods without statistics.
          key: for methods that draw random numbers.
          protocol: the experimental choices.

        Returns:
          Scores, float32 [in, out].
        """
        raise NotImplementedError

    def choose(self, scores: Couple, ties: Couple | None, keep: jax.Array, protocol: Protocol) -> Couple:
        """Returns the masks of both personas, bool [in, out], each with ``keep`` True in every output.

        Args:
          scores: of both personas.
          ties: secondary scores that break ties. Weights equal in both are ranked by input index, lower first.
          keep: int scalar, or [blocks] if blocks have budgets.
          protocol: the experimental choices.
        """
        block = self.block(protocol)
        if block is not None:
            return topk.block_top_k_mask(scores[0], keep, block), topk.block_top_k_mask(scores[1], keep, block)
        first, second = ties or (None, None)
        return topk.top_k_mask(scores[0], keep, first), topk.top_k_mask(scores[1], keep, second)


def strength(moments: Moments, protocol: Protocol) -> jax.Array:
    """Returns the activation strength (Eq. 2) of both personas, [2, in]."""
    return moments["norm"] if protocol.statistics == "lines" else moments["mean_abs"]


def variance(moments: Moments, protocol: Protocol) -> jax.Array:
    """Returns the variance of the activation strength, [2, in]."""
    if protocol.statistics == "lines":
        return moments["norm_variance"]
    return jnp.maximum(moments["mean_square"] - jnp.square(moments["mean_abs"]), 0)
