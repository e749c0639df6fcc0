"""Random masks, a control without data."""

import dataclasses
from typing import ClassVar

import jax

from jaxpersona.core.protocol import Protocol
from jaxpersona.methods.method import Need
from jaxpersona.methods.row_scores import Moments
from jaxpersona.methods.rowwise_method import RowwiseMethod
from jaxpersona.scores import importance


@dataclasses.dataclass(frozen=True)
class Random(RowwiseMethod):
    """Seeded noise, a control that ignores weights and data; each persona has its own draw."""

    name: ClassVar[str] = "random"
    needs: ClassVar[tuple[Need, ...]] = ()

    def by_output(self, protocol: Protocol) -> bool:
        """Returns False, because noise is drawn for the whole kernel at once."""
        return False

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Returns uniform noise."""
        return importance.random(kernel, key)
