"""Writes the folder of a run: ``masks/<persona>/``, ``run.json`` and ``report.html``, all or nothing.

Pairs that the model wrote from two descriptions are an entry too, ``described_pairs.jsonl``.
During a run the folder also has ``.jaxpersona-progress/``: a lock, the unfinished result, and the checkpoints from which a killed
run resumes.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from jaxpersona.commands.kept_progress import kept_progress, locked, remove_progress
from jaxpersona.core import json_text
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError
from jaxpersona.core.processes import is_first, shared_folder, wait_for_all
from jaxpersona.data.descriptions import PAIRS_FILE

_PROGRESS, _RESULT, _REPLACED = ".jaxpersona-progress", "result-", "replaced"
_ENTRIES = ("masks", PAIRS_FILE, "report.html", "run.json")
"""Entries of a result in the order in which they are moved in place. ``run.json`` is last and marks the run as complete."""
EVALUATION_PROGRESS = ".jaxpersona-evaluation"
"""Folder of an unfinished evaluation's checkpoints."""
CAPABILITY_FILE = "capability.json"
"""Scores of lm-eval's tasks, of the base model and the masks."""
ANALYSES_FOLDER = "analysis"
"""Folder of the analyses."""
_EVALUATED = ("answers.jsonl", "answers.md", "evaluation.csv", "evaluation.json", EVALUATION_PROGRESS)
_DERIVED = (ANALYSES_FOLDER, CAPABILITY_FILE, "figures", *_EVALUATED)
"""Files and folders that later commands add; they are removed with the run that they were made from."""


@dataclasses.dataclass(frozen=True)
class Staging:
    """Folders of an unfinished run.

    Attributes:
      result: folder for the run's entries.
      checkpoints: checkpoints, kept until the run is complete.
    """

    result: pathlib.Path
    checkpoints: CheckpointFolder


@contextmanager
def staged_run(path: str, overwrite: bool) -> Iterator[Staging]:
    """Yields folders to write a run into; on success moves the entries to ``path`` and removes the checkpoints.

    On error, checkpoints stay unless there are none or the input was invalid.

    Args:
      path: the run's folder.
      overwrite: replaces a complete run.

    Raises:
      InputError: on entry, if ``path`` has a run and ``overwrite`` is False, has other files, cannot be written, or is in use by
        another process.
    """
    folder = pathlib.Path(path).expanduser()
    _tidy(folder)
    _check(folder, overwrite)
    fresh, progress = not folder.exists(), folder / _PROGRESS
    wait_for_all(f"checked {folder}")
    try:
        with kept_progress(progress, _REPLACED) as checkpoints, _result(progress) as result:
            yield Staging(result, checkpoints)
            wait_for_all(f"run {folder}")
            if is_first():
                _put_in_place(result, folder)
    finally:
        if fresh and is_first() and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _result(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder that every process sees, after removing what a killed run left."""
    # ``_REPLACED`` goes first: without a result beside it, ``_tidy`` takes it for the progress of a complete run.
    for stale in [*folder.glob(_REPLACED), *folder.glob(f"{_RESULT}*")] if is_first() else []:
        shutil.rmtree(stale)
    with shared_folder(folder, _RESULT) as result:
        yield result


def _tidy(folder: pathlib.Path) -> None:
    """Removes the remaining progress of a complete run that was killed during its own clean-up."""
    if not is_first() or not (folder / "run.json").exists():
        return
    progress = folder / _PROGRESS
    # An unfinished run that replaces a complete one still has its ``run.json`` in the result folder, or has not moved the old
    # run to ``_REPLACED`` yet.
    if (progress / _REPLACED).exists() and not any(progress.glob(f"{_RESULT}*/run.json")):
        with suppress(InputError), locked(progress):
            remove_progress(progress, _REPLACED)


def _check(folder: pathlib.Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output_dir {folder} is a file; choose a folder")
    if (folder / "run.json").exists() and not _is_run(folder / "run.json"):
        raise InputError(f"output_dir {folder} holds a run.json that is of no run; choose another")
    if (folder / "run.json").exists() and not overwrite:
        raise InputError(f"output_dir {folder} already holds a run; choose another, or --overwrite true")
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    # A run that was killed while its result was moved in place leaves entries without a run.json.
    ours = {_PROGRESS, *((*_ENTRIES, *_DERIVED) if overwrite or _PROGRESS in names else ())}
    other = sorted(names - ours)
    if other and "run.json" not in names:
        raise InputError(f"output_dir {folder} holds other files ({other[0]}) and no run; choose another")


def _is_run(file: pathlib.Path) -> bool:
    """Returns whether a ``run.json`` is one of a run, of whatever version, or too damaged to tell."""
    try:
        contents = json_text.parse(file.read_bytes())
    except ValueError:
        return True
    return isinstance(contents, dict) and "schema_version" in contents


def check_owner(folder: pathlib.Path, runs: Sequence[str]) -> None:
    """Checks that what is written into a folder would not pass for results of another run.

    Args:
      folder: the folder.
      runs: folders of the runs that the results are of.

    Raises:
      InputError: if it is another run's folder, or that of its analyses.
    """
    own = {pathlib.Path(run).expanduser().resolve() for run in runs}
    place = folder.parent if folder.name == ANALYSES_FOLDER else folder
    if (place / "run.json").exists() and place.resolve() not in own:
        raise InputError(f"output_dir {folder} belongs to another run; choose another")


def _put_in_place(staging: pathlib.Path, folder: pathlib.Path) -> None:
    """Moves the old run away and the new one in place; undoes all moves if one fails."""
    replaced = staging.parent / _REPLACED
    replaced.mkdir()
    # run.json is moved away first, so that a kill leaves no run.json without its masks.
    old = [name for name in (*reversed(_ENTRIES), *_DERIVED) if (folder / name).exists()]
    moves = [(folder / name, replaced / name) for name in old]
    new = [name for name in _ENTRIES if name != PAIRS_FILE or (staging / name).exists()]
    moves += [(staging / name, folder / name) for name in new]
    try:
        for source, target in moves:
            source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if target.exists() and not source.exists():
                target.rename(source)
        shutil.rmtree(replaced, ignore_errors=True)
        raise
