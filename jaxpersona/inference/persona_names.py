"""Parses and checks persona names: ``none``, a bundle of a run, or a mixture such as ``0.7*seek+0.3*reject``."""

from collections.abc import Iterable

from jaxpersona.core.errors import InputError, nearest


def parse_persona(text: str) -> dict[str, float]:
    """Returns the mixture shares by persona name; empty for ``none``.

    Raises:
      InputError: if a name is missing, a share is not a number, or a persona is given twice.

    >>> parse_persona("0.7*seek + 0.3*reject"), parse_persona("seek"), parse_persona("none")
    ({'seek': 0.7, 'reject': 0.3}, {'seek': 1.0}, {})
    """
    if text.strip() == "none":
        return {}
    shares = {}
    for part in text.split("+"):
        share, star, name = part.rpartition("*")
        if not name.strip():
            raise InputError(f"persona {text!r} lacks a name; write 0.7*seek+0.3*reject")
        if name.strip() in shares:
            raise InputError(f"persona {text!r} has {name.strip()!r} twice; give each persona one share")
        try:
            shares[name.strip()] = float(share) if star else 1.0
        except ValueError:
            raise InputError(f"persona {text!r}: {share.strip()!r} is not a number; write 0.7*seek+0.3*reject") from None
    return shares


def check_name(name: str, known: Iterable[str]) -> None:
    """Checks that ``name`` is one of the ``known`` personas.

    Raises:
      InputError: if it is not; the message has the nearest known name or, if none is near, all of them and ``none``.
    """
    personas = list(known)
    if name not in personas:
        raise InputError(f"persona {name!r} is unknown; {nearest(name, [*personas, 'none'])}")
