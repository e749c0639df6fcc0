"""Prints the tables of open answers, and of given answers at equal damage, in docs/results.md from several evaluated runs.

python docs/panel_tables.py runs/wealth runs/extraversion
"""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

KINDS = ("none", "prompt", "rag", "steering", "dpo")
PERSONAS = ("seek", "reject")
CHANGED = ("", "steering ", "weight_steering ", "sft ", "dpo ")
"""How the names of masks begin, and of the baselines that change the model."""
Evaluation = dict[str, Any]


def main(folders: list[str]) -> None:
    """Prints the table of both masks by set, that of single masks, and that of given answers."""
    evaluations = [json.loads((pathlib.Path(folder) / "evaluation.json").read_text()) for folder in folders]
    judged = [each for each in evaluations if "panel" in each.get("open_ended", {})]
    print_table(("set", "both masks", *(f"minus {kind}" for kind in KINDS)), map(both_masks, judged))
    parts = ("trait", "relevance", "fluency", "loops, none / mask")
    heading = ("set", "mask", *KINDS, "**mask** (95 %)", *parts, "perplexity", "own answers, NLL")
    print_table(heading, (single_mask(each, persona) for each in judged for persona in PERSONAS))
    kinds = [kind for kind in CHANGED if any(f"{kind}{PERSONAS[0]}" in masks_of(each) for each in evaluations)]
    columns = (f"{kind or 'masks '}{part}" for kind in kinds for part in ("separation (95 %)", "own answers, NLL"))
    print_table(("set", *columns), (given_answers(each, kinds) for each in evaluations))


def both_masks(evaluation: Evaluation) -> Iterator[str]:
    """Yields the cells of a set: the number of both masks, and how much it lies above that of both cases of each kind."""
    numbers, compared = _numbers(evaluation), both_compared(evaluation)
    yield set_name(evaluation)
    yield f"{50 * sum(numbers[name, name]['overall'] for name in PERSONAS):.1f}"
    for row in map(compared.get, KINDS):
        yield "" if row is None else _in_bold(f"{100 * row['difference']:+.1f}", _interval(row["ci95"]), row["ci95"][0] > 0)


def both_compared(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the comparisons of both masks with both cases of each kind, by kind."""
    comparisons = evaluation["open_ended"]["panel"]["comparisons"]
    return {row["cases"][1]: row for row in comparisons if row["persona"] == "both personas"}


def single_mask(evaluation: Evaluation, persona: str) -> Iterator[str]:
    """Yields the cells of one mask: the number of each case, and the parts, loops, damage and likelihood under the mask."""
    numbers, given = _numbers(evaluation), _given_answers(evaluation)
    yield set_name(evaluation)
    yield persona
    for kind in KINDS:
        row = numbers.get((kind if kind == "none" else f"{kind} {persona}", persona))
        yield "" if row is None else f"{100 * row['overall']:.1f}"
    mask = numbers[persona, persona]
    yield f"{100 * mask['overall']:.1f} {_interval(mask['ci95'])}"
    yield from (f"{100 * mask[part]:.1f}" for part in ("trait", "relevance", "fluency"))
    yield f"{numbers['none', persona]['loops']:.0f} / {mask['loops']:.0f}"
    own = given[persona, persona]
    yield f"{100 * (own['perplexity'] / given['none', persona]['perplexity'] - 1):+.2f} %"
    yield f"{own['own_nll_change']:+.2f}"


def given_answers(evaluation: Evaluation, kinds: list[str]) -> Iterator[str]:
    """Yields the cells of a set: separation, and the change of the NLL of own answers, of each kind of change of the model."""
    given = _given_answers(evaluation)
    apart = {row["masks"][0]: row for row in evaluation["separation"] if (row["prompt"], row["scoring"]) == ("none", "sum")}
    yield set_name(evaluation)
    for kind in kinds:
        both = [given.get((f"{kind}{persona}", persona)) for persona in PERSONAS]
        row = apart.get(f"{kind}{PERSONAS[0]}")
        yield "" if row is None else f"{100 * row['separation']:.1f} {_interval(row['ci95'])}"
        yield " / ".join(f"{each['own_nll_change']:+.2f}" for each in both if each is not None)


def masks_of(evaluation: Evaluation) -> set[str]:
    """Returns the names of the masks and baselines in an evaluation."""
    return {row["mask"] for row in evaluation["results"]}


def set_name(evaluation: Evaluation) -> str:
    """Returns the name of an evaluation's data."""
    return str(evaluation["data"]["source"]).removeprefix("builtin:")


def print_table(heading: tuple[str, ...], rows: Any) -> None:
    """Prints a Markdown table."""
    for cells in (heading, ["---"] * len(heading), *rows):
        print(f"| {' | '.join(cells)} |")
    print()


def _numbers(evaluation: Evaluation) -> dict[tuple[str, str], Any]:
    return {(row["mask"], row["persona"]): row for row in evaluation["open_ended"]["panel"]["results"]}


def _given_answers(evaluation: Evaluation) -> dict[tuple[str, str], Any]:
    rows = (row for row in evaluation["results"] if (row["prompt"], row["scoring"]) == ("none", "sum"))
    return {(row["mask"], row["persona"]): row for row in rows}


def _interval(ends: list[float]) -> str:
    low, high = ends
    return f"({100 * low:.1f} to {100 * high:.1f})"


def _in_bold(value: str, interval: str, bold: bool) -> str:
    return f"**{value}** {interval}" if bold else f"{value} {interval}"


if __name__ == "__main__":
    main(sys.argv[1:])
