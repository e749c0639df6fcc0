"""Collects a panel's judgement of the open answers of several cases, and compares cases on the same questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxpersona.evaluation.choices import finite
from jaxpersona.evaluation.evaluator import BASE
from jaxpersona.evaluation.open_answers.agreement import agreement_rows, label_rows
from jaxpersona.evaluation.open_answers.answer import Answer
from jaxpersona.evaluation.open_answers.fluency import LOOP, repeated_trigrams
from jaxpersona.evaluation.open_answers.panel import PARTS, Panel, combine
from jaxpersona.evaluation.open_answers.scale import harmonic_mean, medians
from jaxpersona.evaluation.significance import bootstrap_interval, difference_interval

OVERALL = "overall"
SAMPLED = ", sampled"
"""Ends the name of a case with samples: several answers per question, drawn at random."""
BOTH = "both personas"
"""Takes the place of a persona where both are counted together."""


class Tally:
    """Judges the answers of cases, all to the same questions.

    Attributes:
      panel: the panel.
      personas: the persona of the matching answers and its opposite.
      cases: by case and persona, ``PARTS`` and their harmonic mean ``overall``, float [questions]: means over the answers to a
        question. An answer without text has 0; NaN is unknown.
      answers: the answers by case.
      decided: by case, the scaled values of the trait's members.
    """

    def __init__(self, panel: Panel, personas: tuple[str, str]):
        """Starts without cases."""
        self.panel, self.personas = panel, personas
        self.cases: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.answers: dict[str, Sequence[Answer]] = {}
        self.decided: dict[str, dict[str, np.ndarray]] = {}

    def add(self, name: str, answers: Sequence[Answer], samples: int = 1) -> list[dict[str, float | None]]:
        """Judges the answers of case ``name``.

        Args:
          name: of the case.
          answers: one to every question, then the next one to every question, and so on.
          samples: answers per question.

        Returns:
          For every answer the parts from the first persona's point of view, and the number for either persona, JSON-ready.
        """
        values = self.panel.values(answers)
        empty = np.array([not answer.text.strip() for answer in answers])
        parts = dict.fromkeys(PARTS, np.full(len(answers), np.nan)) | combine(values)
        judged: dict[str, dict[str, np.ndarray]] = {}
        for persona, trait in zip(self.personas, (parts["trait"], 1 - parts["trait"]), strict=True):
            own = {**parts, "trait": trait}
            own = {part: np.where(empty, 0, value) if values[part] else value for part, value in own.items()}
            whole = harmonic_mean(list(own.values())) if all(values.values()) else np.full(len(answers), np.nan)
            judged[persona] = own | {OVERALL: whole}
            self.cases[name, persona] = {key: _per_question(column, samples) for key, column in judged[persona].items()}
        self.answers[name], self.decided[name] = answers, values["trait"]
        first = judged[self.personas[0]]
        columns = {f"trait_{self.personas[0]}": first["trait"], **{part: first[part] for part in PARTS[1:]}}
        columns |= {f"{OVERALL}_{persona}": own[OVERALL] for persona, own in judged.items()}
        return [{key: finite(column[i]) for key, column in columns.items()} for i in range(len(answers))]

    def record(self, seed: int = 42) -> dict[str, Any]:
        """Returns members, references, agreement, a row per case and persona, and comparisons, JSON-ready."""
        members = [
            {"part": part, "member": m.measure.name, "about": m.measure.about, "reference_0": m.low, "reference_1": m.high}
            for part, some in self.panel.members.items()
            for m in some
        ]
        return {
            "members": members,
            "left_out": self.panel.left_out,
            **self._agreement(seed),
            "results": [self._row(name, persona, seed) for name, persona in self.cases],
            "comparisons": self.comparisons(seed),
        }

    def comparisons(self, seed: int = 42) -> list[dict[str, Any]]:
        """Compares each persona's mask with the base model and the persona's other cases, by the number, paired by question.

        Samples under a mask are compared with those of the base model.

        Returns:
          One row per persona and other case, and one per kind of case for the mean of both personas (``BOTH``): ``persona``,
          ``cases`` (mask and other), ``n`` (questions with all numbers), ``difference`` and its bootstrap ``ci95``.
        """
        compared = [self._compared(persona) for persona in self.personas]
        rows = [
            (persona, cases, self._numbers(persona, cases))
            for persona, kinds in zip(self.personas, compared, strict=True)
            for cases in kinds.values()
        ]
        for kind in (kind for kind in compared[0] if kind in compared[1]):
            pairs = zip(self.personas, (kinds[kind] for kinds in compared), strict=True)
            rows.append((BOTH, ("both masks", kind), np.mean([self._numbers(*pair) for pair in pairs], axis=0)))
        return [
            {"persona": persona, "cases": [*cases], "n": numbers.shape[1], **_difference(numbers, seed)}
            for persona, cases, every in rows
            if (numbers := every[:, ~np.isnan(every).any(axis=0)]).size
        ]

    def _compared(self, persona: str) -> dict[str, tuple[str, str]]:
        """Returns the persona's mask and the case that it is compared with, by the other case's name without the persona."""
        others = [case for case in self.answers if case == BASE or self._persona_of(case) == persona]
        wanted = {case.removesuffix(f" {persona}"): (persona, case) for case in others}
        wanted[BASE + SAMPLED] = (persona + SAMPLED, BASE + SAMPLED)
        return {kind: cases for kind, cases in wanted.items() if self.answers.keys() >= {*cases}}

    def _persona_of(self, case: str) -> str | None:
        """Returns the persona that a case's name ends with; ``rag not seek`` is of ``not seek`` if there is one."""
        ends = [persona for persona in self.personas if case.endswith(f" {persona}") and case not in self.personas]
        return max(ends, key=len, default=None)

    def _numbers(self, persona: str, cases: Sequence[str]) -> np.ndarray:
        """Returns the numbers of some cases, float [cases, questions]."""
        return np.stack([self.cases[case, persona][OVERALL] for case in cases])

    def _row(self, name: str, persona: str, seed: int) -> dict[str, Any]:
        answers, values = self.answers[name], self.cases[name, persona]
        known = {key: values[key][~np.isnan(values[key])] for key in (OVERALL, *PARTS)}
        means = {key: float(some.mean()) if len(some) else None for key, some in known.items()}
        interval = bootstrap_interval(np.mean, (known[OVERALL],), seed) if len(known[OVERALL]) else None
        samples = len(answers) // len(values[OVERALL])
        loops = sum(repeated_trigrams(answer.ids) > LOOP for answer in answers)
        counts = {"loops": loops / samples, "ended": sum(answer.ended for answer in answers) / samples}
        return {"mask": name, "persona": persona, "n": len(known[OVERALL]), **means, "ci95": interval, **counts}

    def _agreement(self, seed: int) -> dict[str, Any]:
        """Returns the trait members' agreement with the labels of held-out answers, and with each other on these and on all."""
        members = self.panel.members["trait"]
        if not members:
            return {"labels": [], "agreement_held_out": [], "agreement_open": []}
        held_out = {each.measure.name: np.concatenate(each.references) for each in members}
        pairs = len(members[0].references[0])
        labels = label_rows({**held_out, "median": medians(list(held_out.values()))}, np.repeat([False, True], pairs))
        said = {name: np.concatenate([values[name] for values in self.decided.values()]) for name in held_out}
        questions = [answer.question for answers in self.answers.values() for answer in answers]
        return {
            "labels": labels,
            "agreement_held_out": agreement_rows(held_out, [*range(pairs)] * 2, seed),
            "agreement_open": agreement_rows(said, questions, seed),
        }


def _difference(numbers: np.ndarray, seed: int) -> dict[str, Any]:
    """Returns the mean difference of two cases' numbers, float [2, questions], and its interval."""
    first, second = numbers
    return {"difference": float((first - second).mean()), "ci95": difference_interval(first, second, seed)}


def _per_question(values: np.ndarray, samples: int) -> np.ndarray:
    """Returns the mean of the known values of each question's samples, float [questions]; NaN if none is known.

    >>> _per_question(np.array([0.0, 0.5, np.nan, 1.0, np.nan, np.nan]), 2)
    array([0.5, 0.5, nan])
    """
    return np.ma.masked_invalid(values.reshape(samples, -1)).mean(axis=0).filled(np.nan)
