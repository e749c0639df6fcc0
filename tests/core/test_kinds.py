"""Settings that no parser has seen are of the kinds that the hints of their class name."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import pytest

from jaxpersona.core.errors import InputError
from jaxpersona.core.kinds import check_kinds


@dataclasses.dataclass
class Settings:
    share: float
    count: int | None
    name: str
    on: bool
    kind: Literal["a", "b"]
    parts: list[int] | tuple[int, ...] | Mapping[str, int]


@pytest.mark.parametrize(
    "good",
    [
        {"share": 0.5, "count": 3, "name": "x", "on": True, "kind": "a"},
        {"share": 1, "count": None, "kind": "c"},  # which names are known, the class says
        {"parts": [1]},
        {"parts": (1, 2)},
        {"parts": {"x": 1}},
    ],
)
def test_values_of_their_kind_are_accepted(good):
    check_kinds(Settings, good, "a test")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("share", value) for value in ("0.5", True, None, [0.5])),
        *(("count", value) for value in (1.5, False, "3")),
        *(("name", value) for value in (3, None, ["x"])),
        *(("on", value) for value in (1, "x", None)),
        *(("kind", value) for value in (1, None)),
        *(("parts", value) for value in ("x", 3, None)),
    ],
)
def test_values_of_other_kinds_are_refused(key, value):
    with pytest.raises(InputError) as error:
        check_kinds(Settings, {key: value}, "a test")
    assert str(error.value).startswith(f"a test: {key} is {value!r}; expected ")
