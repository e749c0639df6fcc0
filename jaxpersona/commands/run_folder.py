"""The folder of a run: ``masks/<persona>/``, ``run.json`` and ``report.html``, all of it or nothing.

While a run is under way, the folder holds ``.jaxpersona-progress/``: a lock, what is written of the result, and the checkpoints
from which the run goes on where it was killed.
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import filelock

from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError, WriteError
from jaxpersona.core.processes import is_first, shared_folder, wait_for_all
from jaxpersona.reporting.record import SCHEMA_VERSION

_PROGRESS, _RESULT, _REPLACED = ".jaxpersona-progress", "result-", "replaced"
_ENTRIES = ("masks", "report.html", "run.json")
"""In the order in which they are put in place: ``run.json`` comes last and marks the run as complete."""
_DERIVED = ("answers.jsonl", "evaluation.csv", "evaluation.json")
"""What later commands add; it goes with the run it was made from."""


@dataclasses.dataclass(frozen=True)
class Staging:
    """A run under way.

    Attributes:
      result: a folder to write the run's entries into.
      checkpoints: what is done so far, kept until the run is complete.
    """

    result: pathlib.Path
    checkpoints: CheckpointFolder


@contextmanager
def staged_run(path: str, overwrite: bool) -> Iterator[Staging]:
    """A place to write a run into; on leaving without an error its entries are moved to ``path`` and its checkpoints removed.

    An error leaves the checkpoints, unless there are none, or it says that what was asked is wrong.

    Raises:
      InputError: at once when ``path`` already holds a run and ``overwrite`` is false, holds other files, cannot be written, or
        another process is at work there.
    """
    folder = pathlib.Path(path).expanduser()
    _tidy(folder)
    _check(folder, overwrite)
    fresh, progress = not folder.exists(), folder / _PROGRESS
    wait_for_all(f"checked {folder}")
    try:
        progress.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output_dir {folder} cannot be written ({error.strerror}); choose another") from None
    with _alone(progress):
        checkpoints = CheckpointFolder(progress)
        resumed = checkpoints.started
        try:
            with _result(progress) as result:
                yield Staging(result, checkpoints)
                wait_for_all(f"run {folder}")
                if is_first():
                    _put_in_place(result, folder)
            worthless = True
        except BaseException as error:
            wrong = isinstance(error, InputError) and not isinstance(error, WriteError)
            worthless = not checkpoints.started or (wrong and not resumed)
            raise
        finally:
            if is_first():
                if worthless:
                    _remove(progress)
                if fresh and not any(folder.iterdir()):
                    folder.rmdir()


@contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of ``folder``; the lock goes with the process, however it ends."""
    lock = filelock.FileLock(folder / "lock", timeout=0)
    try:
        with lock if is_first() else nullcontext():
            yield
    except filelock.Timeout:
        raise InputError(f"another process is at work in output_dir {folder.parent}; wait for it, or choose another") from None


@contextmanager
def _result(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty folder that every process sees, in place of what a killed run left."""
    # in this order, or what is left after a kill would look like the progress of a complete run
    for stale in [*folder.glob(_REPLACED), *folder.glob(f"{_RESULT}*")] if is_first() else []:
        shutil.rmtree(stale)
    with shared_folder(folder, _RESULT) as result:
        yield result


def _tidy(folder: pathlib.Path) -> None:
    """Removes what is left of the progress of a run that is complete: it was killed while it tidied up."""
    if not is_first() or not (folder / "run.json").exists():
        return
    progress = folder / _PROGRESS
    # of an unfinished run, which is to replace the one that is here, ``run.json`` is still to be written or moved
    if (progress / _REPLACED).exists() and not any(progress.glob(f"{_RESULT}*/run.json")):
        with suppress(InputError), _alone(progress):
            _remove(progress)


def _remove(progress: pathlib.Path) -> None:
    """Removes the progress, and last what says that it is of no use."""
    for entry in progress.iterdir():
        if entry.is_file():
            entry.unlink(missing_ok=True)
        elif entry.name != _REPLACED:
            shutil.rmtree(entry, ignore_errors=True)
    shutil.rmtree(progress, ignore_errors=True)


def _check(folder: pathlib.Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output_dir {folder} is a file; choose a folder")
    if (folder / "run.json").exists() and not overwrite:
        raise InputError(f"output_dir {folder} already holds a run; choose another, or --overwrite true")
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    # a run killed while its result was put in place leaves entries without a run.json
    ours = {_PROGRESS, *((*_ENTRIES, *_DERIVED) if overwrite or _PROGRESS in names else ())}
    other = sorted(names - ours)
    if other and "run.json" not in names:
        raise InputError(f"output_dir {folder} holds other files ({other[0]}) and no run; choose another")


def _put_in_place(staging: pathlib.Path, folder: pathlib.Path) -> None:
    """Moves the old run away and the new one in; if a step fails, the steps before it are undone."""
    replaced = staging.parent / _REPLACED
    replaced.mkdir()
    # run.json goes first, so that a kill leaves no run.json without its masks
    old = [name for name in (*reversed(_ENTRIES), *_DERIVED) if (folder / name).exists()]
    moves = [(folder / name, replaced / name) for name in old]
    moves += [(staging / name, folder / name) for name in _ENTRIES]
    try:
        for source, target in moves:
            source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if target.exists() and not source.exists():
                target.rename(source)
        shutil.rmtree(replaced, ignore_errors=True)
        raise


def read_run(path: str) -> dict[str, Any]:
    """The contents of a run's ``run.json``.

    Raises:
      InputError: when ``path`` holds no run, or one this version cannot read.
    """
    file = pathlib.Path(path).expanduser() / "run.json"
    if not file.is_file():
        raise InputError(f"{path} holds no run (run.json is missing); give the output_dir of a discover run")
    try:
        contents = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file}: damaged ({error}); run discover again") from None
    found = contents.get("schema_version") if isinstance(contents, dict) else None
    if found != SCHEMA_VERSION:
        raise InputError(f"{file}: schema version {found}, this jaxpersona reads {SCHEMA_VERSION}; run discover again")
    return contents


def persona_bundle(path: str, persona: str) -> pathlib.Path:
    """The folder of a persona's mask bundle in a run.

    Raises:
      InputError: when the run has no such persona.
    """
    personas = sorted(read_run(path)["masks"])
    if persona not in personas:
        raise InputError(f"run {path} has no persona {persona!r}; it has {', '.join(personas)} (and none)")
    return pathlib.Path(path).expanduser() / "masks" / persona
