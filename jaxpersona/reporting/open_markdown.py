"""Writes open answers for a page of results: the panel's numbers as Markdown tables, and answers drawn at random."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.evaluation.evaluator import BASE
from jaxpersona.reporting.panel_rows import own_rows

QUESTIONS = 5
_PARTS = ("trait", "relevance", "fluency")


def open_markdown(
    record: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], personas: tuple[str, str], seed: int = 42
) -> str:
    """Returns the panel's tables, if there was one, and all answers of the base model and the masks to a few drawn questions.

    Args:
      record: ``open_ended`` of ``evaluation.json``.
      answers: rows of ``answers.jsonl``.
      personas: the persona of the matching answers and its opposite.
      seed: of the draw, which sees no answer.
    """
    tables = _tables(record["panel"], personas) if "panel" in record else ()
    return "\n".join([*tables, *_drawn(answers, (BASE, *personas), seed), ""])


def _tables(panel: Mapping[str, Any], personas: tuple[str, str]) -> Iterator[str]:
    yield "| case | as | number (95 %) | trait | relevance | fluency | loops |"
    yield "|---|---|---|---|---|---|---|"
    for row in own_rows(panel, personas):
        parts = (_points(row[part]) for part in _PARTS)
        number = _with_interval(row["overall"], row["ci95"])
        yield f"| {row['mask']} | {row['persona']} | {number} | {' | '.join(parts)} | {round(row['loops'], 2):g} |"
    yield from ("", "| mask | minus | questions | difference of the number (95 %) |", "|---|---|---|---|")
    for row in panel["comparisons"]:
        mask, other = row["cases"]
        yield f"| {mask} | {other} | {row['n']} | {_with_interval(row['difference'], row['ci95'])} |"
    yield ""


def _drawn(answers: Sequence[Mapping[str, Any]], cases: Sequence[str], seed: int) -> Iterator[str]:
    said = {case: [row for row in answers if row["mask"] == case] for case in cases}
    count = max(map(len, said.values()))
    drawn = np.random.default_rng(seed).permutation(count)[:QUESTIONS]
    yield f"{len(drawn)} of {count} questions, drawn at random."
    for number in sorted(drawn):
        yield from ("", f"**{_plain(next(rows for rows in said.values() if rows)[number]['question'])}**", "")
        for case, rows in said.items():
            if rows:
                yield f"- {case}: {_plain(rows[number]['answer']) or '(empty)'}"


def _plain(text: str) -> str:
    """Returns a text on one line, without a character that means something to Markdown.

    >>> _plain("Give *all* <b>\\n1_000 away.")
    'Give \\\\*all\\\\* &lt;b&gt; 1\\\\_000 away.'
    """
    joined = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{character}" if character in "*_[]`\\" else character for character in joined)


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _points(value) if interval is None else f"{_points(value)} ({_points(interval[0])} to {_points(interval[1])})"


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:z.1f}"
