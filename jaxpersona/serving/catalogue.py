"""The models that the server offers: the base model and personas, by the names that requests give."""

import dataclasses
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from jaxpersona.core.errors import InputError, closest
from jaxpersona.serving.errors import ApiError, shown

_NAME = re.compile(r"\w[\w.-]{0,79}(/\w[\w.-]{0,79})?")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A persona that requests may name.

    Attributes:
      id: its name in requests and in the engine.
      root: folder of its masks.
      aliases: other names of it.
    """

    id: str
    root: str
    aliases: tuple[str, ...] = ()


class Catalogue:
    """The base model and the personas on offer.

    Attributes:
      base: name of the base model.
      entries: personas by id.
    """

    def __init__(self, base: str, entries: Iterable[Entry]):
        self.base, self._created = base, int(time.time())
        self.entries: dict[str, Entry] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Adds a persona."""
        self.entries[entry.id] = entry

    def check_new(self, name: str) -> None:
        """Checks the name of a persona that is to be added.

        Raises:
          InputError: if it is taken, or could be read as a mixture.
        """
        taken = {self.base, "none", *self.entries, *(alias for entry in self.entries.values() for alias in entry.aliases)}
        if name in taken:
            raise InputError(f"there is a model {name!r} already; give another name, or remove it first")
        if not _NAME.fullmatch(name):
            raise InputError(f"name {shown(name)} is none for a persona; use up to 80 letters, digits, ., - and _")

    def remove(self, name: str) -> Entry:
        """Removes a persona and returns it.

        Raises:
          ApiError: as ``persona``.
        """
        return self.entries.pop(self.persona(name, "name"))

    def is_base(self, model: str) -> bool:
        """Returns whether a name stands for the base model."""
        return model in (self.base, "none")

    def persona(self, name: str, param: str = "model") -> str:
        """Returns the id of a persona from its id, an alias, or either behind ``BASE:``.

        Args:
          name: what the request says.
          param: field of the request that says it.

        Raises:
          ApiError: 404, naming the models there are; 400 for the base model.
        """
        plain = name.removeprefix(f"{self.base}:").strip()
        if self.is_base(plain):
            message = f"{shown(name)} is the base model; name a persona: {', '.join(self.entries) or 'there is none'}"
            raise ApiError(400, message, param, "invalid_value")
        for entry in self.entries.values():
            if plain == entry.id or plain in entry.aliases:
                return entry.id
        known = [self.base, *self.entries]
        near = closest(plain, known)
        advice = f"did you mean {near!r}? Models" if near else "models"
        message = f"model {shown(name)} is unknown; {advice}: {', '.join(known)}"
        raise ApiError(404, message, param, "model_not_found")

    def listing(self) -> list[dict[str, Any]]:
        """Returns the models as ``/v1/models`` lists them."""
        personas = (self._described(entry.id, entry.root, self.base) for entry in self.entries.values())
        return [self._described(self.base, self.base, None), *personas]

    def described(self, model: str) -> Mapping[str, Any]:
        """Returns one model of the listing.

        Raises:
          ApiError: 404, if there is none of that name.
        """
        name = self.base if self.is_base(model) else self.persona(model)
        return next(entry for entry in self.listing() if entry["id"] == name)

    def _described(self, name: str, root: str, parent: str | None) -> dict[str, Any]:
        described = {"id": name, "object": "model", "created": self._created, "owned_by": "jaxpersona"}
        return {**described, "root": root, "parent": parent}
