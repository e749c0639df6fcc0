"""How a long computation goes on where it was killed: what it has so far, stage by stage, in files of checked arrays.

What is kept of a stage is a nested dictionary of arrays and numbers. It is written to a temporary name and renamed, so a file is
whole or not there, and holds a hash of its contents, so that a damaged one starts its stage anew instead of spoiling the result.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxpersona.core import files
from jaxpersona.core.errors import InputError, WriteError
from jaxpersona.core.mesh import to_host
from jaxpersona.core.processes import agreed, check_agreed, is_first, wait_for_all
from jaxpersona.core.progress import Progress, silent

EVERY_SECONDS = 5.0
"""Work that a kill can cost, at least."""
_SHARE = 0.05  # of the time that may go into checkpoints; large ones are therefore rarer
_FACTS, _SUFFIX = "asked.json", ".safetensors"
_log = logging.getLogger(__name__)

Tree = Mapping[str, Any]
Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What one stage of a computation has so far; by itself it keeps nothing, for computations that nobody resumes."""

    def load(self) -> dict[str, Any] | None:
        """What was kept, arrays where they were, on the host or on devices; None where nothing was, or it is damaged."""
        return None

    def save(self, tree: Tree) -> None:
        """Keeps ``tree``, in place of what was kept before."""

    def offer(self, tree: Tree) -> None:
        """Keeps ``tree`` if enough time has passed to make that worth while."""

    def once(self, make: Callable[[], Tree]) -> Tree:
        """What was kept, or else what ``make`` gives, which is kept then."""
        found = self.load()
        if found is None:
            self.save(found := make())
        return found


NOTHING = Checkpoint()


class Checkpoints:
    """Checkpoints by stage: ``checkpoints["statistics"]``; by itself it keeps nothing.

    Attributes:
      arrays: folder for arrays in files of their own, which checkpoints need not hold; None where nothing is kept.
    """

    arrays: pathlib.Path | None = None

    def __getitem__(self, stage: str) -> Checkpoint:
        return NOTHING


NOWHERE = Checkpoints()


@dataclasses.dataclass(frozen=True)
class _InFile(Checkpoint):
    folder: "CheckpointFolder"
    path: pathlib.Path

    def load(self) -> dict[str, Any] | None:
        tree, digest = self._load()
        check_agreed(digest, f"progress in {self.path} is")  # or each process would go on from elsewhere
        return tree

    def _load(self) -> tuple[dict[str, Any] | None, str]:
        if not self.path.is_file():
            return None, ""
        try:
            return _read(self.path, self.folder.mesh)
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            _log.warning("%s is damaged (%s); what it held is computed anew", self.path, error)
            return None, ""

    def save(self, tree: Tree) -> None:
        start, layouts, leaves = time.monotonic(), *_on_host(tree)
        try:
            if is_first():
                _write(self.path, layouts, leaves, self.folder.seconds)
        except OSError as error:
            reason = error.strerror or error
            raise WriteError(
                f"progress could not be written to {self.path.parent} ({reason}); make room and run the same command again, "
                "which goes on from the progress before"
            ) from None
        wait_for_all(f"saved {self.path}")
        self.folder.saved_at = time.monotonic()
        self.folder.cost[self.path] = self.folder.saved_at - start

    def offer(self, tree: Tree) -> None:
        if self.folder.due(self.path):
            self.save(tree)


class CheckpointFolder(Checkpoints):
    """Checkpoints in a folder, a file for each stage, and what was asked of the computation they belong to.

    Attributes:
      mesh: of the model, on which arrays that lay on one are put again.
      every_seconds: the least time between two checkpoints of unfinished stages; None is ``EVERY_SECONDS``, 0 keeps each.
      saved_at: when the last one was written.
      cost: seconds the last one took, by file.
      earlier: seconds that processes before this one worked, each until its last checkpoint.
    """

    def __init__(self, folder: pathlib.Path, every_seconds: float | None = None):
        self.folder, self.arrays = folder, folder / "arrays"
        self.every_seconds = EVERY_SECONDS if every_seconds is None else every_seconds
        self.mesh: Mesh | None = None
        self.saved_at = time.monotonic()
        self.cost: dict[pathlib.Path, float] = {}
        self._since, self.earlier = self.saved_at, max(map(_seconds, folder.glob(f"*{_SUFFIX}")), default=0.0)
        for stale in folder.glob(".*") if is_first() else ():  # half-written files of a process that was killed
            stale.unlink()

    def __getitem__(self, stage: str) -> Checkpoint:
        return _InFile(self, self.folder / f"{stage.replace(' ', '-')}{_SUFFIX}")

    @property
    def started(self) -> bool:
        """Whether anything is kept."""
        return any(self.folder.glob(f"*{_SUFFIX}"))

    @property
    def seconds(self) -> float:
        """How long all processes have worked, this one until now."""
        return self.earlier + time.monotonic() - self._since

    def due(self, path: pathlib.Path) -> bool:
        """Whether ``path`` may be written now, so that the share of time that goes into checkpoints stays small."""
        wait = self.every_seconds and max(self.every_seconds, self.cost.get(path, 0.0) / _SHARE)
        return bool(agreed("due" if time.monotonic() - self.saved_at >= wait else ""))

    def clear(self) -> None:
        """Forgets all that is kept."""
        for path in self.folder.glob(f"*{_SUFFIX}"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "arrays", ignore_errors=True)
        self.earlier = 0.0

    def agree(self, facts: Mapping[str, Any], overwrite: bool = False) -> None:
        """Says what the computation depends on; several calls add up.

        Args:
          facts: JSON values by key, nested.
          overwrite: forget what was kept for other facts instead of refusing it.

        Raises:
          InputError: when something is kept that depends on other facts.
        """
        facts, asked = json.loads(json.dumps(facts)), self._asked()
        changed = _changed({key: asked[key] for key in facts if key in asked}, facts) if self.started else None
        if changed and not overwrite:
            key, old, new = changed
            raise InputError(
                f"{self.folder.parent} holds an unfinished run in which {key} is {old}, not {new}; give the same to go on, "
                "--overwrite true to start anew, or another output_dir"
            )
        wait_for_all(f"agreed on {', '.join(facts)}")
        if is_first():
            if changed:
                self.clear()
            files.write_atomically(self.folder / _FACTS, json.dumps({**asked, **facts}, indent=1) + "\n")
        wait_for_all(f"wrote {', '.join(facts)}")

    def _asked(self) -> dict[str, Any]:
        """What the computation was said to depend on, now or before it was killed."""
        try:
            return dict(json.loads((self.folder / _FACTS).read_text()))
        except (OSError, ValueError, TypeError):
            if self.started:
                _log.warning("%s is damaged; everything is computed anew", self.folder / _FACTS)
                self.clear()
            return {}


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first key in which two nested mappings differ where both speak of it, with its values in both."""
    before, now = _dotted(old), _dotted({key: value for key, value in new.items() if key in old})
    keys = [key for key in dict.fromkeys([*now, *before]) if now.get(key) != before.get(key)]
    return (keys[0], before.get(keys[0]), now.get(keys[0])) if keys else None


def _dotted(facts: Mapping[str, Any]) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(dict(facts), sep=".")


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


def summed(
    items: Sequence[Item],
    sums: Callable[[Item], Any],
    checkpoint: Checkpoint = NOTHING,
    progress: Progress = silent,
    add: Callable[[Any, Any], Any] = _add,
) -> Any:
    """The sum of ``sums(item)`` over the items, in order, from where the checkpoint left it.

    Args:
      items: at least one.
      sums: gives a nested dictionary of arrays.
      progress: called with (items done, items in all).
      add: adds two such dictionaries.
    """

    def with_item(total: Any, item: Item) -> Any:
        return sums(item) if total is None else add(total, sums(item))

    return gathered(items, with_item, checkpoint, progress)


def gathered(
    items: Sequence[Item], gather: Callable[[Any, Item], Any], checkpoint: Checkpoint = NOTHING, progress: Progress = silent
) -> Any:
    """What ``gather`` makes of the items, in order, from where the checkpoint left it.

    Args:
      items: at least one.
      gather: gives a nested dictionary of arrays, from that of the items before (None for the first) and an item.
      progress: called with (items done, items in all).
    """
    kept = checkpoint.load() or {"done": 0, "total": None}
    done, total = int(kept["done"]), kept["total"]
    if done:
        progress(done, len(items))
    for number, item in enumerate(items[done:], start=done + 1):
        total = jax.block_until_ready(gather(total, item))
        checkpoint.offer({"done": number, "total": total})
        progress(number, len(items))
    return total


def _on_host(tree: Tree) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """By name, how leaves that lie on devices are split among them, and all leaves as NumPy arrays."""
    flat = {json.dumps(key): leaf for key, leaf in flax.traverse_util.flatten_dict(dict(tree)).items()}
    on_device = {name: leaf for name, leaf in flat.items() if isinstance(leaf, jax.Array)}
    layouts = {name: list(getattr(leaf.sharding, "spec", ())) for name, leaf in on_device.items()}
    return layouts, {name: np.asarray(to_host(leaf), order="C") for name, leaf in flat.items()}


def _write(path: pathlib.Path, layouts: Mapping[str, Any], leaves: dict[str, np.ndarray], seconds: float) -> None:
    about = {"sha256": _digest(leaves), "layouts": json.dumps(layouts), "seconds": f"{seconds:.3f}"}
    with files.replacing(path) as temporary:
        try:
            save_file(leaves, temporary, about)
        except SafetensorError as error:  # what a full disk becomes
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error)) from None


def _read(path: pathlib.Path, mesh: Mesh | None) -> tuple[dict[str, Any], str]:
    """What a checkpoint holds, and its hash."""
    with safe_open(path, framework="numpy") as file:
        about = file.metadata() or {}
        leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    digest = _digest(leaves)
    if digest != about.get("sha256"):
        raise ValueError("its hash differs")
    placed: dict[str, Any] = dict(leaves)
    for name, layout in json.loads(about["layouts"]).items():
        placed[name] = _on_device(leaves[name], layout, mesh)
    return flax.traverse_util.unflatten_dict({tuple(json.loads(name)): leaf for name, leaf in placed.items()}), digest


def _seconds(path: pathlib.Path) -> float:
    """What a checkpoint says of how long was worked until it was written; 0 where it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return float((file.metadata() or {})["seconds"])
    except (SafetensorError, ValueError, KeyError, OSError):
        return 0.0


def _on_device(leaf: np.ndarray, layout: Sequence[Any], mesh: Mesh | None) -> jax.Array:
    if mesh is None:
        return jnp.asarray(leaf)
    spec = PartitionSpec(*(tuple(axes) if isinstance(axes, list) else axes for axes in layout))
    return jax.make_array_from_callback(leaf.shape, NamedSharding(mesh, spec), lambda index: leaf[index])


def _digest(leaves: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves.items()):
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
