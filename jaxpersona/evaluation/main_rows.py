"""Picks the rows of an evaluation that answer its main question: does a mask change what the model prefers by itself?

They are scored by summed log-probability, without a prompt; behind the persona's own prompt where the protocol has masks only
there, and then the base model too.
"""

from collections.abc import Mapping
from typing import Any

SCORING = "sum"


def main_rows(record: Mapping[str, Any], persona: str) -> dict[str, dict[str, Any]]:
    """Returns the rows of one persona by mask, controls and baselines among them.

    Args:
      record: contents of ``evaluation.json``.
      persona: whose answers count as right.
    """
    summed = [row for row in record["results"] if (row["scoring"], row["persona"]) == (SCORING, persona)]
    behind, alone = ({row["mask"]: row for row in summed if row["prompt"] == prompt} for prompt in (persona, "none"))
    return alone | behind if persona in behind and persona not in alone else behind | alone


def main_separations(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the separations of the masks, controls and baselines, each once.

    Args:
      record: contents of ``evaluation.json``.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in record["separation"]:
        if row["scoring"] == SCORING and (row["prompt"] == "none" or tuple(row["masks"]) not in found):
            found[tuple(row["masks"])] = row
    return list(found.values())


def perplexity_increase(row: Mapping[str, Any], base: Mapping[str, Any] | None) -> float | None:
    """Returns the relative increase of a row's perplexity over the base model's; None if either was not measured."""
    before = base and base["perplexity"]
    return row["perplexity"] / before - 1 if before and row["perplexity"] is not None else None


def worst_increase(separation: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Returns the larger perplexity increase of two opposite masks; None if one was not measured, or is beyond all numbers.

    Args:
      separation: from ``main_separations``.
      rows: from ``main_rows``.
    """
    found = [perplexity_increase(rows[mask], rows.get("none")) for mask in separation["masks"] if mask in rows]
    known = [value for value in found if value is not None]
    return max(known) if known and len(known) == len(found) else None
