"""The interface of a persona, which turns a model's parameters into the persona's."""

from typing import Any, Protocol

from jaxpersona.core.tree import Params


class Persona(Protocol):
    """Masks, masks with updated weights, or steering vectors; a pytree whose arrays are [layer, ...]."""

    def apply(self, params: Params, gamma: float = 0.0) -> dict[str, Any]:
        """Returns new parameters: the full persona at gamma 0, the base model towards gamma 1."""
        ...

    def in_layer(self, number: int) -> "Persona":
        """Returns the part of the persona in layer ``number``, arrays [1, ...]."""
        ...

    def at_head(self) -> "Persona | None":
        """Returns the part of the persona at the LM head; None if the head is unchanged."""
        ...
