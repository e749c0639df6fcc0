"""Magnitude pruning, a control without data."""

import dataclasses
from typing import ClassVar

import jax

from jaxpersona.core.protocol import Protocol
from jaxpersona.methods.method import Need
from jaxpersona.methods.row_scores import Moments
from jaxpersona.methods.rowwise_method import RowwiseMethod
from jaxpersona.scores import importance


@dataclasses.dataclass(frozen=True)
class Magnitude(RowwiseMethod):
    """Absolute weight, a control that ignores the persona: both personas get the same mask."""

    name: ClassVar[str] = "magnitude"
    needs: ClassVar[tuple[Need, ...]] = ()

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Returns the absolute weight."""
        return importance.magnitude(kernel)
