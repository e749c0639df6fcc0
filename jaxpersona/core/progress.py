"""How long work says where it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

Report = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""


def silent(*progress: object) -> None:
    """Says nothing; the default of everything that reports progress."""
