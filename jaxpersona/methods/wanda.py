"""Wanda (Eq. 3; Sun et al., 2024): absolute weight times activation strength."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import Protocol
from jaxpersona.methods.method import Need, check_one_of
from jaxpersona.methods.row_scores import Moments, strength
from jaxpersona.methods.rowwise_method import RowwiseMethod
from jaxpersona.scores import importance


@dataclasses.dataclass(frozen=True)
class Wanda(RowwiseMethod):
    """Absolute weight times activation strength (Eq. 3).

    Attributes:
      activation: ``abs``, the strength of Eq. 2 as the protocol measures it, or ``rms``, the root of E h^2.
    """

    activation: Literal["abs", "rms"] = "abs"
    name: ClassVar[str] = "wanda"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)
    prunes_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of(("abs", "rms"), self.activation, "activation", self.name)

    def check(self, protocol: Protocol) -> None:
        """Raises InputError for ``rms`` under a protocol that measures whole texts."""
        if self.activation == "rms" and protocol.statistics == "lines":
            raise InputError(f"protocol {protocol.name} measures activation by the norm of each text; leave out activation rms")

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Returns Eq. 3."""
        assert moments is not None
        activation = strength(moments, protocol) if self.activation == "abs" else jnp.sqrt(moments["mean_square"])
        return importance.wanda(kernel, activation[0])
