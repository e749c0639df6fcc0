"""Rows of a sweep: two cases that differ in the persona, what each does for its own persona, and their separation.

A row has ``kind`` (base, method, control, baseline), ``method``, ``of`` (the method whose budget a control has), ``budget``,
``num_samples``, ``seed``, ``prompt``, ``scoring`` and ``n``; under ``personas``, for each by name, ``mask``, ``accuracy`` on that
persona, ``ci95``, ``margin``, ``missing``, ``perplexity``, ``answer_nll`` and ``kept``; and ``separation``, ``separation_ci95``
and ``p_value``. A case that is the same for both personas stands in both places. Where prompts are the method, ``prompt`` is
none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxpersona.evaluation.choices import Choices, choice_row, separation_row
from jaxpersona.evaluation.comparison import Evaluation

_PLACE = {"kind": "", "method": "", "of": "", "budget": "", "num_samples": None, "seed": None}
Key = tuple[str, str]
"""A case and the prompt it was asked behind."""


def rows_of(
    found: Evaluation,
    personas: tuple[str, str],
    place: Mapping[str, Any],
    names: Mapping[str, str],
    kept: Mapping[str, float],
) -> list[dict[str, Any]]:
    """A row for every couple of cases and every scoring of an evaluation.

    Args:
      place: where the rows belong: kind, of, budget, num_samples, seed.
      names: the method by what is left of its cases' names without the persona; what is not listed is the method itself.
      kept: share of weights kept by case.
    """
    measured = {(row["mask"], row["prompt"]): {key: row[key] for key in ("perplexity", "answer_nll")} for row in found.rows}
    rows = []
    for title, prompt, couple in _couples(measured, personas):
        where = {**place, "method": names.get(title, title), "prompt": prompt}
        sides = [{"mask": key[0], **measured[key], "kept": kept.get(key[0])} for key in couple]
        for scoring in dict.fromkeys(scoring for mask, asked, scoring in found.choices if (mask, asked) == couple[0]):
            choices = found.choices[(*couple[0], scoring)], found.choices[(*couple[1], scoring)]
            rows.append(_row({**where, "scoring": scoring}, personas, choices, sides))
    return rows


def chooser_row(name: str, choices: Choices, personas: tuple[str, str], place: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a chooser that is no model."""
    where = {**place, "kind": "control", "method": name, "prompt": "none", "scoring": "letter" if name == "always A" else "sum"}
    nothing = {"mask": name, "perplexity": None, "answer_nll": None, "kept": None}
    return _row(where, personas, (choices, choices), [nothing, nothing])


def _couples(keys: Iterable[Key], personas: tuple[str, str]) -> Iterator[tuple[str, str, tuple[Key, Key]]]:
    """What is left of the names without the persona, the prompt, and the two cases, of all that begin with the first persona."""
    for mask, prompt in keys:
        if mask == "none" and prompt != "none":
            if (split := _split(prompt, personas)) is not None:
                yield split[0] or "prompt", "none", ((mask, prompt), (mask, split[1]))
        elif (split := _split(mask, personas)) is not None:
            yield split[0], prompt, ((mask, prompt), (split[1], prompt))


def _split(name: str, personas: tuple[str, str]) -> tuple[str, str] | None:
    """What is left of a name without the persona, and the name of its opposite; None for those of the second persona.

    >>> [_split(name, ("seek", "reject")) for name in ("seek", "random seek", "none", "random reject")]
    [('', 'reject'), ('random', 'random reject'), ('none', 'none'), None]
    """
    *title, last = name.rsplit(" ", 1)
    if last not in personas:
        return name, name
    return None if last == personas[1] else (" ".join(title), " ".join([*title, personas[1]]))


def _row(
    where: Mapping[str, Any], personas: tuple[str, str], choices: tuple[Choices, Choices], sides: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    own, separation = (choices[0], choices[1].against()), separation_row(*choices, where["seed"])
    found = {persona: choice_row(mine) for persona, mine in zip(personas, own, strict=True)}
    numbers = ("accuracy", "ci95", "margin", "missing")
    by_persona = {
        persona: {"mask": side["mask"], **{key: found[persona][key] for key in numbers}, **side}
        for persona, side in zip(personas, sides, strict=True)
    }
    tested = {"separation": separation["separation"], "separation_ci95": separation["ci95"], "p_value": separation["p_value"]}
    return {**_PLACE, **where, "n": separation["n"], "personas": by_persona, **tested}
