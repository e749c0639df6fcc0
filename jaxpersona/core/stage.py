"""Stages: one object that reports a computation's progress and keeps its checkpoint.

    def collect(batches, stage=QUIET):
        return summed(batches, sums_of, stage.part("moments"))

Library functions take a ``Stage``; a command makes one that draws progress bars and writes checkpoints to a folder.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

Tree = Mapping[str, Any]
"""The contents of a checkpoint: a nested mapping of arrays and numbers."""
Report = Callable[[str, int, int], None]
"""Called with (name of the stage, steps done, steps in total)."""
Item = TypeVar("Item")


class Store(Protocol):
    """A place for checkpoints by name (``checkpoints.CheckpointFolder``)."""

    @property
    def arrays(self) -> pathlib.Path:
        """Folder for memory-mapped arrays that a resumed run finds again."""
        ...

    def load(self, name: str) -> dict[str, Any] | None:
        """Returns the checkpoint; None if there is none or it is damaged."""
        ...

    def save(self, name: str, tree: Tree) -> None:
        """Replaces the checkpoint."""
        ...

    def offer(self, name: str, tree: Tree) -> None:
        """Replaces the checkpoint if enough time has passed since the last one."""
        ...


class Stage:
    """A named part of a computation. By itself it reports nothing and keeps nothing.

    Args:
      report: callback for progress; None is silent.
      store: keeps checkpoints; None keeps none.
      name: of the stage, as reported; also names its checkpoint.
    """

    def __init__(self, report: Report | None = None, store: Store | None = None, name: str = ""):
        self.name, self._report, self._store = name, report, store

    def part(self, name: str) -> "Stage":
        """Returns a stage within this one, named "THIS, NAME".

        >>> Stage(print).part("calibrate").part("moments").progress(1, 8)
        calibrate, moments 1 8
        """
        return Stage(self._report, self._store, f"{self.name}, {name}" if self.name else name)

    def without_progress(self) -> "Stage":
        """Returns the same stage, with its checkpoint, but silent."""
        return Stage(None, self._store, self.name)

    def progress(self, done: int, total: int) -> None:
        """Reports ``done`` of ``total`` steps."""
        if self._report is not None:
            self._report(self.name, done, total)

    @property
    def arrays(self) -> pathlib.Path | None:
        """Folder for memory-mapped arrays that a resumed run finds again; None without checkpoints."""
        return None if self._store is None else self._store.arrays

    def load(self) -> dict[str, Any] | None:
        """Returns the stage's checkpoint, arrays on the devices they were on; None if there is none or it is damaged."""
        return None if self._store is None else self._store.load(self.name)

    def save(self, tree: Tree) -> None:
        """Replaces the stage's checkpoint."""
        if self._store is not None:
            self._store.save(self.name, tree)

    def offer(self, tree: Tree) -> None:
        """Replaces the stage's checkpoint if enough time has passed since the last one."""
        if self._store is not None:
            self._store.offer(self.name, tree)

    def once(self, make: Callable[[], Tree]) -> Tree:
        """Returns the checkpoint if there is one, else the result of ``make``, which is then saved."""
        kept = self.load()
        if kept is None:
            self.save(kept := make())
        return kept


QUIET = Stage()
"""Reports nothing and keeps nothing: the default of every function that takes a stage."""


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


def summed(
    items: Sequence[Item], sums: Callable[[Item], Any], stage: Stage = QUIET, add: Callable[[Any, Any], Any] = _add
) -> Any:
    """Returns the sum of ``sums(item)`` over the items, in order; resumes from the stage's checkpoint.

    Args:
      items: at least one.
      sums: returns a nested mapping of arrays.
      stage: progress counts items.
      add: adds two such mappings.
    """

    def step(total: Any, item: Item) -> Any:
        return sums(item) if total is None else add(total, sums(item))

    return fold(items, step, stage)


def fold(items: Sequence[Item], step: Callable[[Any, Item], Any], stage: Stage = QUIET) -> Any:
    """Folds ``step`` over the items, in order; resumes from the stage's checkpoint.

    Args:
      items: at least one.
      step: returns a nested mapping of arrays, from the previous one (None before the first item) and an item.
      stage: progress counts items.
    """
    kept = stage.load() or {"done": 0, "total": None}
    done, total = int(kept["done"]), kept["total"]
    stage.progress(done, len(items))
    for number, item in enumerate(items[done:], start=done + 1):
        total = jax.block_until_ready(step(total, item))
        stage.offer({"done": number, "total": total})
        stage.progress(number, len(items))
    return total
