"""Contrastive Sparse (Eq. 9)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import Protocol
from jaxpersona.methods.method import Need, check_not_negative, check_one_of
from jaxpersona.methods.row_scores import Couple, Moments
from jaxpersona.methods.rowwise_method import RowwiseMethod
from jaxpersona.ops import topk
from jaxpersona.scores import importance


@dataclasses.dataclass(frozen=True)
class ContrastiveSparse(RowwiseMethod):
    """Difference of the personas' Sparse scores, each as a share of its output's sum (Eq. 9).

    Attributes:
      policy: who keeps a weight that both personas want. ``none``: both. ``argmax``: the one with the larger score; an output's
        weights are put into one order, of which each persona has an end. ``first``: the first persona; the second chooses from
        what is left. None is the protocol's. Scores of Eq. 9 are opposite, so the last two differ in ties alone.
      damping: lambda of Eq. 5, as a share of the mean of the diagonal.
    """

    policy: Literal["none", "argmax", "first"] | None = None
    damping: float = 0.01
    name: ClassVar[str] = "contrastive_sparse"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy is not None:
            check_one_of(("none", "argmax", "first"), self.policy, "policy", self.name)
        check_not_negative(self.damping, "damping")

    def check(self, protocol: Protocol) -> None:
        """Refuses disjoint masks that would need more than half of the weights each."""
        policy = self.policy or protocol.disjoint
        least = min([self.sparsity, *dict(self.overrides).values()])
        if policy != "none" and not protocol.refill and least < 0.5:
            raise InputError(f"disjoint masks (policy {policy}) need a sparsity of at least 0.5, not {least}; or use policy none")

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Computes Eq. 9, or the absolute standardised difference of the signed means where the protocol says so."""
        assert moments is not None
        if protocol.symmetric_sparse:
            signed = importance.standardized_difference(moments["line_mean"], moments["line_mean_variance"], 1e-6, True)
            return jnp.broadcast_to(jnp.abs(signed)[:, None], kernel.shape)
        own, other = (importance.sparse(kernel, square, self.damping) for square in moments["mean_square"])
        return importance.contrastive_sparse(own, other)

    def choose(self, scores: Couple, ties: Couple | None, keep: jax.Array, protocol: Protocol) -> Couple:
        """Returns both masks, disjoint unless ``policy`` is ``none``."""
        first, second = super().choose(scores, ties, keep, protocol)
        policy = self.policy or protocol.disjoint
        if policy == "first":
            left = jnp.where(first, -jnp.inf, scores[1])
            second = topk.top_k_mask(left, keep, ties and ties[1])
        if policy == "argmax":
            second = ~topk.top_k_mask(scores[0], scores[0].shape[0] - keep, ties and ties[0])
        return first, second
