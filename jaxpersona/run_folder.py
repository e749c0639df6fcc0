"""The folder of a run: ``masks/<persona>/``, ``run.json`` and ``report.html``, all of it or nothing."""

import json
import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxpersona.distributed import is_first, shared_folder, wait_for_all
from jaxpersona.errors import InputError

SCHEMA_VERSION = 1
_STAGING = ".jaxpersona-"
_ENTRIES = ("masks", "report.html", "run.json")
"""In the order in which they are put in place: ``run.json`` comes last and marks the run as complete."""
_DERIVED = ("answers.jsonl", "evaluation.csv", "evaluation.json")
"""What later commands add; it goes with the run it was made from."""


@contextmanager
def staged_run(path: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """A temporary folder to write a run into; on leaving without an error its entries are moved to ``path``.

    Raises:
      InputError: at once when ``path`` already holds a run and ``overwrite`` is false, holds other files, or cannot be written.
    """
    folder = pathlib.Path(path).expanduser()
    _check(folder, overwrite)
    fresh = not folder.exists()
    wait_for_all(f"checked {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"{_STAGING}*") if is_first() else ():  # left by a run that was killed
            shutil.rmtree(stale)
    except OSError as error:
        raise InputError(f"output_dir {folder} cannot be written ({error.strerror}); choose another") from None
    try:
        with shared_folder(folder, _STAGING) as staging:
            yield staging
            wait_for_all(f"run {folder}")
            if is_first():
                _put_in_place(staging, folder)
    finally:
        if fresh and is_first() and not any(folder.iterdir()):
            folder.rmdir()


def _check(folder: pathlib.Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output_dir {folder} is a file; choose a folder")
    if (folder / "run.json").exists() and not overwrite:
        raise InputError(f"output_dir {folder} already holds a run; choose another, or --overwrite true")
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    ours = (*_ENTRIES, *_DERIVED) if overwrite else ()
    other = sorted(name for name in names if name not in ours and not name.startswith(_STAGING))
    if other and "run.json" not in names:
        raise InputError(f"output_dir {folder} holds other files ({other[0]}) and no run; choose another")


def _put_in_place(staging: pathlib.Path, folder: pathlib.Path) -> None:
    """Moves the old run away and the new one in; if a step fails, the steps before it are undone."""
    replaced = staging / "replaced"
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
