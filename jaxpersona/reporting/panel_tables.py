"""Prints what the panel says of open answers: one number per case, comparisons of cases, and how far members agree."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxpersona.evaluation.open_answers.tally import SAMPLED
from jaxpersona.reporting.panel_rows import own_rows
from jaxpersona.reporting.table_cells import empty_table, interval_cell, number_cell, share_cell


def print_panel(console: Console, panel: Mapping[str, Any], personas: tuple[str, str]) -> None:
    """Prints the panel's tables.

    Args:
      console: where to print.
      panel: ``open_ended.panel`` of ``evaluation.json``.
      personas: the persona of the matching answers and its opposite.
    """
    console.print(_results_table(panel, personas))
    for row in panel["comparisons"]:
        cases = " minus ".join(row["cases"])
        low, high = (f"{100 * bound:+.1f}" for bound in row["ci95"])
        points = f"{100 * row['difference']:+.1f} points (95 %: {low} to {high})"
        console.print(f"Panel, as {row['persona']}: {cases}: {points}", soft_wrap=True)
    if panel["labels"]:
        console.print(_members_table(panel))
    for member, reason in panel["left_out"].items():
        console.print(f"Panel, left out: {member}, because {reason}", soft_wrap=True)


def _results_table(panel: Mapping[str, Any], personas: tuple[str, str]) -> Table:
    """Returns the table of the number and its parts, one row per case and each persona that its name may stand for."""
    caption = [
        "as: persona that the answers are measured against",
        "number: harmonic mean of the parts, 0 if one is 0; mean over answers, in points; an empty answer has 0",
        "95 % CI: its bootstrap interval over questions",
        "trait: 0 like held-out answers of the opposite, 100 like those of the persona",
        "relevant: 0 like answers to another question, 100 like held-out answers to their own",
        "fluent: 0 like shuffled words or a loop, 100 like the base model's own answers that do not loop",
        "loops: answers of which over 30 % of the 3-grams are repeated",
        "ended: answers that ended by themselves",
    ]
    rows = list(own_rows(panel, personas))
    if any(row["mask"].endswith(SAMPLED) for row in rows):
        caption.append("sampled: answers drawn at random; all numbers are means over the samples")
    numbers = ("number", "95 % CI", "trait", "relevant", "fluent", "loops", "ended")
    table = empty_table("Open answers by a panel of measures", caption, ("mask", "as"), numbers)
    for row in rows:
        overall, *parts = (_points(row[key]) for key in ("overall", "trait", "relevance", "fluency"))
        interval = "" if row["ci95"] is None else interval_cell(row)
        counts = (f"{round(row[key], 2):g}" for key in ("loops", "ended"))
        table.add_row(row["mask"], row["persona"], overall, interval, *parts, *counts)
    return table


def _members_table(panel: Mapping[str, Any]) -> Table:
    """Returns the table of the trait members' agreement with known labels, and with each other."""
    caption = [
        "right: share of held-out answers of known persona on the right side of the middle between the references",
        "agree: share of answers on which two members decide alike, over questions",
        "open: over the open answers of all cases",
        *(f"{row['member']}: {row['about']}" for row in panel["members"] if row["part"] == "trait"),
    ]
    table = empty_table("Members that judge the trait", caption, ("member",), ("right", "agree", "agree, open"))
    for row in panel["labels"]:
        table.add_row(row["member"], _with_interval(row["accuracy"], row), "", "")
    for held_out, said in zip(panel["agreement_held_out"], panel["agreement_open"], strict=True):
        cells = (_with_interval(row["agreement"], row) for row in (held_out, said))
        table.add_row(" and ".join(held_out["members"]), "", *cells)
    return table


def _with_interval(value: float | None, row: Mapping[str, Any]) -> str:
    return "" if value is None else f"{share_cell(value)} [{interval_cell(row)}]"


def _points(value: float | None) -> str:
    return number_cell(None if value is None else 100 * value, 1)
