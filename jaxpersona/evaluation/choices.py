"""Multiple choice: under which scoring which answer of a pair a model prefers."""

import dataclasses
from typing import Any, Literal

import numpy as np

from jaxpersona.data.pairs import Pairs
from jaxpersona.evaluation.significance import accuracy_interval, difference_interval, mcnemar
from jaxpersona.scoring import AnswerScores

Scoring = Literal["sum", "per_token", "per_byte"]
SCORINGS: tuple[Scoring, ...] = ("sum", "per_token", "per_byte")


@dataclasses.dataclass(frozen=True)
class Choices:
    """What was chosen on every item under one scoring.

    Attributes:
      correct: float [items], 1 where the persona's answer scored higher, 0 where the opposite one did, 0.5 for a tie; NaN where a
        score is missing.
      margin: score of the persona's answer minus that of the opposite one, float [items].
    """

    correct: np.ndarray
    margin: np.ndarray

    def against(self) -> "Choices":
        """The same choices seen from the opposite persona."""
        return Choices(1 - self.correct, -self.margin)


def answer_bytes(pairs: Pairs) -> np.ndarray:
    """UTF-8 bytes of both answers of every pair, int [pairs, 2]."""
    return np.array([[len(text.strip().encode()) for text in (pair.matching, pair.not_matching)] for pair in pairs])


def choose(scores: AnswerScores, lengths: np.ndarray, scoring: Scoring) -> Choices:
    """Compares the answers by summed log-probability, or by its mean per token or per byte.

    Args:
      scores: from ``score_answers``.
      lengths: bytes of the answers [pairs, 2].
    """
    divisor = {"sum": np.ones_like(lengths), "per_token": scores.tokens, "per_byte": lengths}[scoring]
    with np.errstate(invalid="ignore"):  # an answer without a token that can be predicted has no score
        values = scores.log_prob / divisor
        margin = values[:, 0] - values[:, 1]
    return Choices(np.where(np.isnan(margin), np.nan, (np.sign(margin) + 1) / 2), margin)


def choice_row(choices: Choices) -> dict[str, Any]:
    """Number of items, accuracy with its interval, mean margin, and how many tied or had no score (which counts as wrong)."""
    missing = np.isnan(choices.correct)
    correct = np.where(missing, 0.0, choices.correct)
    return {
        "n": len(correct),
        "accuracy": float(correct.mean()),
        "ci95": accuracy_interval(correct),
        "margin": float(np.mean(choices.margin[~missing])) if not missing.all() else None,
        "ties": int((correct == 0.5).sum()),
        "missing": int(missing.sum()),
    }


def separation_row(under_seek: Choices, under_reject: Choices, seed: int = 42) -> dict[str, Any]:
    """Accuracy under the persona's mask minus accuracy under the opposite one's, on the same items.

    With a bootstrap interval of the paired difference and McNemar's exact p-value; items without a score count as wrong.
    """
    first, second = (np.nan_to_num(choices.correct) for choices in (under_seek, under_reject))
    return {
        "separation": float(first.mean() - second.mean()),
        "ci95": difference_interval(first, second, seed),
        "p_value": mcnemar(first, second),
        "n": len(first),
    }
