"""The exceptions for things a user can put right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says in one line what is wrong, where, and what to do. Commands print it and exit with status 2."""


class WriteError(InputError):
    """Something could not be written: more room or another place helps, and what was done so far is worth keeping."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word: the known one closest to it, or all of them if none is close.

    >>> nearest("wnada", ["wanda", "random"])
    "did you mean 'wanda'?"
    >>> nearest("?", ["wanda", "random"])
    'known: random, wanda'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
