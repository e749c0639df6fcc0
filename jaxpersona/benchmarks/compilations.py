"""Counts compilations, which do not depend on how fast or busy a machine is."""

from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Context manager that counts the programs compiled, or read from the persistent cache, inside its block.

    Attributes:
      count: number of programs.
      seconds: time they took.
    """

    def __init__(self) -> None:
        self.count, self.seconds, self._open = 0, 0.0, False

    def __enter__(self) -> "Compilations":
        self._open = True
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False  # JAX has no public way to remove a listener

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if self._open and event == _COMPILED:
            self.count += 1
            self.seconds += duration_secs
