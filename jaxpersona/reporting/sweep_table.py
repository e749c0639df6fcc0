"""The result of a sweep as a table in the terminal, laid out like the paper's Table 4."""

from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from jaxpersona.reporting.sweep_summary import Point, Spread, summarize

_WIDTH = 150
"""Narrower, numbers would be cut; a terminal that is narrower wraps lines."""


def print_sweep(record: Mapping[str, Any], personas: tuple[str, str], files: Sequence[str], output_dir: str) -> None:
    """Prints a line for every method at every budget, at the largest number of calibration pairs, and what was skipped."""
    console = Console(markup=False, emoji=False)  # names and paths may hold brackets
    console.width = max(console.width, _WIDTH)
    console.print(sweep_table(record, personas))
    for cell in record["cells"]:
        if cell["skipped"] is not None:
            settings = ", ".join(f"{key} {value}" for key, value in cell["settings"].items())
            place = f"{cell['num_samples']} pairs, seed {cell['seed']}"
            named = f"{cell['name']}, shuffled labels" if cell["kind"] == "shuffled" else cell["name"]
            console.print(f"Skipped: {named} ({settings}; {place}): {cell['skipped']}", soft_wrap=True)
    console.print(f"Written: {output_dir} ({', '.join(files)})", soft_wrap=True)


def sweep_table(record: Mapping[str, Any], personas: tuple[str, str]) -> Table:
    """One line for every method and budget: both accuracies, separation, damage."""
    points = summarize(record, personas)
    size = max(point.num_samples or 0 for point in points)
    shown = _ordered([point for point in points if point.num_samples in (None, size)])
    seeds = max(point.seeds for point in shown)
    held_out = record["data"]["held_out"]
    title = f"{record['model']['name']}, {size} calibration pairs; {held_out['pairs']} held-out pairs of {held_out['source']}"
    several = f"{seeds} seeds: mean, and smallest to largest; p: the largest. One seed: " if seeds > 1 else ""
    caption = (
        f"{several}95 % interval. {personas[0]}, {personas[1]}: accuracy on that persona under its own mask, in %; separation: "
        f"accuracy on {personas[0]} under its mask minus under the other, in points, with McNemar's p; ppl: increase of "
        f"perplexity on {record['config']['perplexity']['text']} under either mask (x11: 11-fold); NLL: per answer token"
    )
    table = Table(title=title, caption=caption, box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    table.add_column("budget", no_wrap=True)
    for heading in (*personas, "separation", "p", "ppl, %", "NLL"):
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for point in shown:
        if previous is not None and _place(point) != _place(previous):
            table.add_section()
        name = "" if previous is not None and (point.kind, point.method) == (previous.kind, previous.method) else point.method
        table.add_row(name or None, " ".join(filter(None, [point.of, point.budget])), *_numbers(point))
        previous = point
    return table


def _ordered(points: Sequence[Point]) -> list[Point]:
    """By their place, and then by when a method came first."""
    names = list(dict.fromkeys(point.method for point in points))
    return sorted(points, key=lambda point: (_place(point), names.index(point.method)))


def _place(point: Point) -> int:
    """Prompts come before the methods, what was trained after them, controls last: as in the paper."""
    if point.kind == "baseline":
        return 1 if point.method in ("prompt", "rag") else 3
    return {"base": 0, "method": 2, "control": 4}[point.kind]


def _numbers(point: Point) -> list[str]:
    same = point.kind == "base" or (point.separation.mean == point.separation.low == point.separation.high == 0)
    separation = "0.0" if same else _percent(point.separation, "+.1f", "+.0f")
    damage = "" if point.damage is None else " / ".join(_increase(value) for value in point.damage)
    return [
        *(_percent(accuracy, ".1f", ".0f") for accuracy in point.accuracy),
        separation,
        "" if same else f"{point.p_value:.1g}",
        "" if point.kind == "base" else damage,
        "" if point.answer_nll is None else f"{point.answer_nll:.2f}",
    ]


def _percent(spread: Spread, mean: str, bound: str) -> str:
    return f"{100 * spread.mean:{mean}} [{100 * spread.low:{bound}}, {100 * spread.high:{bound}}]"


def _increase(value: float) -> str:
    if value < 10:
        return f"{100 * value:+.1f}"
    return f"x{value + 1:,.0f}" if value < 1e4 else f"x{value:.0e}"
