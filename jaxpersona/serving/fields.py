"""Takes the fields of a JSON request one by one, each checked for its type; what is left over is refused."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from jaxpersona.core.errors import InputError, closest
from jaxpersona.serving.errors import ApiError, shown

T = TypeVar("T")
D = TypeVar("D")
_KINDS: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    list: ((list,), "a list"),
    dict: ((dict,), "an object"),
}


class Fields:
    """The fields of a JSON object. A field whose value is null counts as missing.

    Args:
      body: the object.
      inside: name of the field that holds it; empty for the request itself.
    """

    def __init__(self, body: Mapping[str, Any], inside: str = ""):
        self._left = {key: value for key, value in body.items() if value is not None}
        self._inside, self._taken = inside, set[str]()

    def take(self, name: str) -> Any:
        """Returns the value of a field, whatever its type; None if it is missing."""
        self._taken.add(name)
        return self._left.pop(name, None)

    def get(self, name: str, kind: type[T], default: D) -> T | D:
        """Returns the value of a field of type ``kind``, or ``default`` if it is missing.

        Raises:
          ApiError: if the value is of another type.
        """
        value = self.take(name)
        if value is None:
            return default
        accepted, words = _KINDS[kind]
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise self.error(name, f"{self.path(name)} is {shown(value)}; give {words}")
        return value  # type: ignore[return-value]

    def given(self, name: str) -> bool:
        """Returns whether a field has a value and was not taken."""
        return name in self._left

    def refuse_unless(self, name: str, neutral: Collection[Any], reason: str) -> None:
        """Refuses a field unless its value is missing or one of the ``neutral`` ones.

        Raises:
          ApiError: with ``reason``.
        """
        value = self.take(name)
        if value is not None and value not in neutral:
            raise self.error(name, f"{self.path(name)} is {shown(value)}, but {reason}; leave it out")

    def finish(self) -> None:
        """Refuses fields that were not taken.

        Raises:
          ApiError: naming the first one, and the field that it may be a misspelling of.
        """
        for name in self._left:
            near = closest(name, self._taken)
            advice = f"did you mean {near!r}?" if near else "leave it out"
            raise self.error(name, f"field {shown(self.path(name))} is unknown; {advice}")

    def path(self, name: str) -> str:
        """Returns the name of a field with that of the object it is in."""
        return f"{self._inside}.{name}" if self._inside else name

    def error(self, name: str, message: str) -> ApiError:
        """Returns the error of a field with a wrong value."""
        return ApiError(400, message, self.path(name), "invalid_value")

    def checked(self, name: str, make: Callable[[], T]) -> T:
        """Returns ``make()``; what it raises as InputError becomes an error of the field ``name``.

        Raises:
          ApiError: with the message of the InputError.
        """
        try:
            return make()
        except InputError as error:
            raise self.error(name, str(error)) from None
