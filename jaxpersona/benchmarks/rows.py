"""What a benchmark measured: rows of a value and what it is compared with, as a table and as JSON."""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.masks.bundle import package_versions

LESS_IS_BETTER = ("s", "ms", "MB", "GB")


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
      name: what was measured, ``benchmark/what``.
      value: ours, a median where there were several runs.
      baseline: what it is compared with, None where there is nothing.
      ratio: how many times better ours is, above 1; None where there is no baseline.
      unit: of value and baseline: s, ms, MB, GB, or something of which more is better.
      device: where.
      versions: of the packages on both sides.
    """

    name: str
    value: float
    baseline: float | None
    ratio: float | None
    unit: str
    device: str
    versions: Mapping[str, str]


def row(
    name: str, values: Sequence[float], baseline: Sequence[float], unit: str, device: str, versions: Mapping[str, str]
) -> Row:
    """A row of the medians of both sides; ``baseline`` may be empty."""
    value = statistics.median(values)
    if not baseline:
        return Row(name, value, None, None, unit, device, versions)
    other = statistics.median(baseline)
    better = (other, value) if unit in LESS_IS_BETTER else (value, other)
    return Row(name, value, other, better[0] / max(better[1], 1e-12), unit, device, versions)


def place(device: str, baseline: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Device and versions as ``row`` takes them; ``baseline`` is a result of the PyTorch side."""
    versions = package_versions() | (baseline["versions"] if baseline else {})
    return {"device": device, "versions": {name: str(version) for name, version in versions.items()}}


def print_rows(rows: Sequence[Row]) -> None:
    """Prints the rows as a table."""
    table = Table(caption="ratio above 1: ours is better" if any(row.ratio for row in rows) else None)
    table.add_column("")
    for heading in ("ours", "baseline", "ratio", "unit"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    for row in rows:
        baseline, ratio = ("" if value is None else f"{value:.4g}" for value in (row.baseline, row.ratio))
        table.add_row(row.name, f"{row.value:.4g}", baseline, ratio, row.unit)
    Console(markup=False, emoji=False).print(table)
    if rows:
        versions = ", ".join(f"{name} {version}" for name, version in rows[0].versions.items())
        print(f"{rows[0].device}; {versions}")


def write_rows(path: str, rows: Sequence[Row]) -> None:
    """Writes the rows to a JSON file.

    Raises:
      InputError: when the file cannot be written.
    """
    target = pathlib.Path(path).expanduser()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error})") from None
