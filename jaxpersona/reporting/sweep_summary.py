"""The rows of a sweep gathered over seeds, for its table and its figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """A share: of one seed with its 95 % interval, of several seeds the mean with the smallest and the largest."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Point:
    """A method at one budget and number of calibration pairs, over all seeds, by summed log-probability without a prompt.

    Attributes:
      kind: base, method, control or baseline.
      method: its name, with settings other than the budget.
      of: the method whose budget a control has.
      budget: for people; empty if there is none.
      num_samples: number of calibration pairs; None where they do not matter.
      accuracy: on the first persona under its mask, and on the second under its own.
      separation: accuracy on the first persona under its mask minus under the opposite one.
      p_value: of the separation; with several seeds the largest.
      damage: relative increase of perplexity under either mask, mean over seeds; None if not measured.
      answer_nll: per token, mean over masks and seeds; None if there is none.
      removed: share of the maskable weights that is removed, mean over masks and seeds; None if there is no mask.
      seeds: how many.
    """

    kind: str
    method: str
    of: str
    budget: str
    num_samples: int | None
    accuracy: tuple[Spread, Spread]
    separation: Spread
    p_value: float
    damage: tuple[float, float] | None
    answer_nll: float | None
    removed: float | None
    seeds: int

    @property
    def worst_damage(self) -> float | None:
        """The larger of the two increases of perplexity."""
        return None if self.damage is None else max(self.damage)


def summarize(record: Mapping[str, Any], personas: tuple[str, str]) -> list[Point]:
    """The points of a sweep in the order in which they came first.

    Args:
      record: contents of ``sweep.json``.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in record["rows"]:
        if (row["prompt"], row["scoring"]) == ("none", "sum"):
            key = tuple(row[name] for name in ("kind", "method", "of", "budget", "num_samples"))
            groups.setdefault(key, []).append(row)
    (base,) = (rows for key, rows in groups.items() if key[0] == "base")
    bare = base[0]["personas"][personas[0]]["perplexity"]
    return [_point(key, rows, personas, bare) for key, rows in groups.items()]


def _point(key: tuple[Any, ...], rows: Sequence[dict[str, Any]], personas: tuple[str, str], bare: float | None) -> Point:
    sides = [[row["personas"][persona] for row in rows] for persona in personas]
    perplexity = [_mean([side["perplexity"] for side in mine]) for mine in sides]
    kept = _mean([side["kept"] for mine in sides for side in mine])
    first, second = perplexity
    kind, method, of, budget, num_samples = key
    return Point(
        kind,
        method,
        of,
        budget_text(budget),
        num_samples,
        (_spread(sides[0], "accuracy", "ci95"), _spread(sides[1], "accuracy", "ci95")),
        _spread(rows, "separation", "separation_ci95"),
        max(row["p_value"] for row in rows),
        None if bare is None or first is None or second is None else (first / bare - 1, second / bare - 1),
        _mean([side["answer_nll"] for mine in sides for side in mine]),
        None if kept is None else 1 - kept,
        len(rows),
    )


def _spread(rows: Sequence[Mapping[str, Any]], value: str, interval: str) -> Spread:
    values = [row[value] for row in rows]
    low, high = rows[0][interval] if len(rows) == 1 else (min(values), max(values))
    return Spread(float(np.mean(values)), low, high)


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of the values is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def budget_text(budget: str) -> str:
    """A budget as people write it.

    >>> [budget_text(text) for text in ("sparsity=0.3", "max_perplexity_increase=0.005", "strength=2", "")]
    ['30 %', 'ppl +0.5 %', 'x 2', '']
    """
    name, _, value = budget.partition("=")
    if name == "sparsity":
        return f"{100 * float(value):g} %"
    if name == "max_perplexity_increase":
        return f"ppl +{100 * float(value):g} %"
    return f"x {float(value):g}" if name == "strength" else budget
