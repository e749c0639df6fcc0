"""Counting what XLA compiles, which does not depend on how fast or busy a machine is."""

from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Counts programs that were compiled, or read from the persistent cache, within a ``with`` block.

    Attributes:
      count: how many.
      seconds: how long that took.
    """

    def __init__(self) -> None:
        self.count, self.seconds, self._open = 0, 0.0, False

    def __enter__(self) -> "Compilations":
        self._open = True
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False  # JAX has no public way to take a listener away

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if self._open and event == _COMPILED:
            self.count += 1
            self.seconds += duration_secs
