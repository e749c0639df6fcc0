"""Checks values of settings against their type hints, where no parser has done so."""

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from jaxpersona.core.errors import InputError


def check_kinds(cls: type, settings: Mapping[str, Any], where: str) -> None:
    """Checks values against the hints of a dataclass.

    Args:
      cls: the dataclass; what containers hold is not checked.
      settings: values by name of the field.
      where: what they are settings of, for messages.

    Raises:
      InputError: if a value is of another kind.
    """
    hints = typing.get_type_hints(cls)
    for key, value in settings.items():
        if not _fits(value, hints[key]):
            raise InputError(f"{where}: {key} is {value!r}; expected {getattr(hints[key], '__name__', hints[key])}")


def _fits(value: Any, hint: Any) -> bool:
    """Returns whether a value is of a kind; whole numbers are also floats, and truth values are no numbers.

    >>> _fits(3, float), _fits(True, float), _fits("3", int | None), _fits([3], list[int])
    (True, False, False, True)
    """
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, kind) for kind in typing.get_args(hint))
    if origin is Literal:  # which of them are known, the class says
        return any(isinstance(value, type(known)) for known in typing.get_args(hint))
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, origin or hint) if isinstance(origin or hint, type) else True
