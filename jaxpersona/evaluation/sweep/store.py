"""Stores a sweep's results in ``sweep.json``, rewritten after every cell, so that an interrupted sweep resumes."""

import csv
import hashlib
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxpersona.core import json_text
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.core.processes import check_agreed, is_first
from jaxpersona.evaluation.sweep.grid import Cell
from jaxpersona.masks.bundle import package_versions

SCHEMA_VERSION = 1
_FILE = "sweep.json"
_DERIVED = ("sweep.csv", "sweep.md", "pareto.png", "budget.png", "samples.png")


class Store:
    """A sweep's folder.

    Attributes:
      folder: its path.
      record: contents of ``sweep.json``: ``schema_version``, the inputs (``config``, ``model``, ``data``, ``contents``,
        ``left_out``), ``versions`` of packages, ``cells`` (identity, ``seconds``, and ``skipped``, the reason or None) and
        ``rows`` (``rows.py``).
    """

    def __init__(self, path: str, inputs: Mapping[str, Any], overwrite: bool = False):
        """Reads the results that the folder already has of this sweep.

        Args:
          path: the folder; created if missing.
          inputs: JSON-ready values that the rows depend on.
          overwrite: deletes existing results.

        Raises:
          InputError: if the folder has a sweep with other inputs or one that cannot be read, or if the processes of the run see
            different contents.
        """
        self.folder = pathlib.Path(path).expanduser()
        inputs = json.loads(json.dumps({"schema_version": SCHEMA_VERSION, **inputs}))
        self.record: dict[str, Any] = {**inputs, "versions": package_versions(), "cells": [], "rows": []}
        file = self.folder / _FILE
        if file.exists() and not overwrite:
            self.record = _read(file)
            _check_same(inputs, self.record, file)
        self.folder.mkdir(parents=True, exist_ok=True)
        done = json.dumps([_identity(cell) for cell in self.record["cells"]])
        check_agreed(hashlib.sha256(done.encode()).hexdigest(), f"what {self.folder} holds is")
        for name in (_FILE, *_DERIVED) if overwrite else ():
            (self.folder / name).unlink(missing_ok=True)

    def has(self, cell: Cell) -> bool:
        """Returns True if the cell was run; False for skipped cells, which are run again."""
        return any(_identity(done) == _identity(cell.identity()) and done["skipped"] is None for done in self.record["cells"])

    def add(self, done: Mapping[str, Any]) -> None:
        """Adds a cell's result and rewrites ``sweep.json``."""
        done = json.loads(json.dumps(done))
        cells = [cell for cell in self.record["cells"] if _identity(cell) != _identity(done)]
        cells.append({key: value for key, value in done.items() if key != "rows"})
        self.record = {**self.record, "cells": cells, "rows": [*self.record["rows"], *done["rows"]]}
        if is_first():
            write_atomically(self.folder / _FILE, json.dumps(self.record, indent=1) + "\n")

    def write_csv(self) -> None:
        """Writes the rows as ``sweep.csv``: nested keys are joined by underscores, intervals become two columns."""
        rows = [_flat(row) for row in self.record["rows"]]
        table = io.StringIO()
        writer = csv.DictWriter(table, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / "sweep.csv", table.getvalue())


def _identity(cell: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in cell.items() if key not in ("seconds", "skipped", "rows")}, sort_keys=True)


def _read(file: pathlib.Path) -> dict[str, Any]:
    try:
        contents = json_text.parse(file.read_text())
    except ValueError as error:
        raise InputError(f"{file}: damaged ({error}); start anew with --overwrite true") from None
    if not isinstance(contents, dict) or not {"cells", "rows"} <= set(contents):
        raise InputError(f"{file} contains no sweep; choose another output_dir, or --overwrite true")
    for key, needed in (("cells", {"seconds", "skipped"}), ("rows", {"method", "personas"})):
        entries = contents[key]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and needed <= set(entry) for entry in entries):
            raise InputError(f"{file}: damaged ({key} are not those of a sweep); start anew with --overwrite true")
    return contents


def _check_same(inputs: Mapping[str, Any], stored: Mapping[str, Any], file: pathlib.Path) -> None:
    new, old = _flat(inputs), _flat({key: value for key, value in stored.items() if key in inputs})
    for key in dict.fromkeys([*new, *old]):
        if new.get(key) != old.get(key):
            raise InputError(
                f"{file} was made with other settings ({key}: {old.get(key)}, now {new.get(key)}); "
                "choose another output_dir, or --overwrite true"
            )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested mappings; keys are joined by underscores, without the level ``personas``.

    >>> _flat({"a": 1, "seek": {"ci95": [0.1, 0.2]}})
    {'a': 1, 'seek_ci95_low': 0.1, 'seek_ci95_high': 0.2}
    >>> _flat({"ci95": None})
    {'ci95_low': None, 'ci95_high': None}
    """
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            flat |= _flat(item, "" if key == "personas" else f"{name}_")
        elif key.endswith("ci95"):
            low, high = item or (None, None)
            flat |= {f"{name}_low": low, f"{name}_high": high}
        else:
            flat[name] = item
    return flat
