"""Personas as commands name them: ``none``, the name of a bundle in a run, or a mixture such as ``0.7*seek+0.3*reject``."""

from jaxpersona.core.errors import InputError


def parse_persona(text: str) -> dict[str, float]:
    """Shares by name; empty for ``none``.

    Raises:
      InputError: when a share is no number.

    >>> parse_persona("0.7*seek + 0.3*reject"), parse_persona("seek"), parse_persona("none")
    ({'seek': 0.7, 'reject': 0.3}, {'seek': 1.0}, {})
    """
    if text.strip() == "none":
        return {}
    shares = {}
    for part in text.split("+"):
        share, star, name = part.rpartition("*")
        try:
            shares[name.strip()] = float(share) if star else 1.0
        except ValueError:
            raise InputError(f"persona {text!r}: {share.strip()!r} is no number; write 0.7*seek+0.3*reject") from None
    return shares
