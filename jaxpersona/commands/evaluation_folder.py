"""Writes what an evaluation finds into a folder, and keeps other files that lie there."""

import csv
import io
import json
import pathlib
import sys
from typing import Any

from jaxpersona.commands.run_folder import EVALUATION_PROGRESS, check_owner
from jaxpersona.core import json_text
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.reporting.open_markdown import open_markdown
from jaxpersona.reporting.page.render import render
from jaxpersona.reporting.page.run_files import read_files

_RECORD, _TABLE, _ANSWERS = "evaluation.json", "evaluation.csv", ("answers.jsonl", "answers.md")


def check_folder(folder: pathlib.Path, run: str | None) -> None:
    """Checks that an evaluation would replace only what an evaluation has written.

    Args:
      folder: the evaluation's folder.
      run: folder of the run that is evaluated; None for bundles outside a run.

    Raises:
      InputError: if the folder is another run's, or has other files of the same names.
    """
    check_owner(folder, [] if run is None else [run])
    if (folder / EVALUATION_PROGRESS).exists():  # an evaluation may have been killed while it wrote
        return
    ours = _written(folder)
    if other := [name for name in (_TABLE, *_ANSWERS) if name not in ours and (folder / name).exists()]:
        raise InputError(f"{folder / other[0]} is of no evaluation, and would be replaced; move it, or give another --output_dir")


def _written(folder: pathlib.Path) -> set[str]:
    """Returns the names of the files that an earlier evaluation has written; all if its record is too damaged to tell."""
    if not (folder / _RECORD).is_file():
        return set()
    try:
        record = json_text.parse((folder / _RECORD).read_bytes())
    except ValueError:
        return {_TABLE, *_ANSWERS}
    return {_TABLE, *(_ANSWERS if isinstance(record, dict) and "open_ended" in record else ())}


def save(
    folder: pathlib.Path, record: dict[str, Any], answers: list[dict[str, Any]], personas: tuple[str, str], seed: int
) -> None:
    """Writes ``evaluation.csv``, the open answers if there are any, and last ``evaluation.json``.

    Args:
      folder: the evaluation's folder.
      record: contents of ``evaluation.json``.
      answers: open answers, from ``Evaluation.answers``; without any, those of an earlier evaluation are removed.
      personas: the persona of the matching answers and its opposite.
      seed: of the answers that are drawn for ``answers.md``.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, list(record["results"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(record["results"])
    write_atomically(folder / _TABLE, table.getvalue())
    if answers:
        write_atomically(folder / _ANSWERS[0], "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in answers))
        write_atomically(folder / _ANSWERS[1], open_markdown(record["open_ended"], answers, personas, seed))
    else:
        for name in _ANSWERS:
            (folder / name).unlink(missing_ok=True)
    write_atomically(folder / _RECORD, json.dumps(record, indent=1) + "\n")


def save_page(path: str, run: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes ``report.html``; a damaged file of another command in the run's folder does not undo the evaluation."""
    try:
        write_atomically(folder / "report.html", render(read_files(path, run, folder)))
    except InputError as error:
        print(f"Note: report.html was not written: {error}", file=sys.stderr)
