"""Multiple choice: under which scoring which answer of a pair a model prefers."""

import dataclasses
from typing import Any, Literal

import numpy as np

from jaxpersona.data.pairs import Pairs
from jaxpersona.evaluation.answers import AnswerScores
from jaxpersona.evaluation.significance import accuracy_interval, difference_interval, mcnemar

Scoring = Literal["sum", "per_token", "per_byte", "prompt_mean", "letter"]
"""``letter`` asks another question than the others (``letters.py``); ``prompt_mean`` is that of a published script."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """What was chosen on every item under one scoring.

    Attributes:
      correct: float [items], 1 where the persona's answer scored higher, 0 where the opposite one did, 0.5 for a tie; NaN where a
        score is missing. By letter, the mean over both orders of the options.
      margin: score of the persona's answer minus that of the opposite one, float [items]; by letter likewise.
      share_a: by letter, how often A was named over both orders (0.5: no position bias); None where there are no letters.
    """

    correct: np.ndarray
    margin: np.ndarray
    share_a: float | None = None

    def against(self) -> "Choices":
        """The same choices seen from the opposite persona."""
        return Choices(1 - self.correct, -self.margin, self.share_a)


def preferred(margin: np.ndarray) -> np.ndarray:
    """1 where a margin is above 0, 0 where below, 0.5 for a tie, NaN where it is missing."""
    return np.where(np.isnan(margin), np.nan, (np.sign(margin) + 1) / 2)


def answer_bytes(pairs: Pairs) -> np.ndarray:
    """UTF-8 bytes of both answers of every pair, int [pairs, 2]."""
    return np.array([[len(text.strip().encode()) for text in (pair.matching, pair.not_matching)] for pair in pairs])


def choose(scores: AnswerScores, lengths: np.ndarray, scoring: Scoring) -> Choices:
    """Compares the answers by summed log-probability, its mean per token or byte, or its mean over prompt and answer.

    Args:
      scores: from ``score_answers``.
      lengths: bytes of the answers [pairs, 2].
    """
    divisor = {"sum": np.ones_like(lengths), "per_token": scores.tokens, "per_byte": lengths}
    divisor["prompt_mean"] = scores.tokens + scores.prompt_tokens[:, None]
    log_prob = scores.log_prob + (scores.prompt_log_prob[:, None] if scoring == "prompt_mean" else 0)
    with np.errstate(invalid="ignore"):  # an answer without a token that can be predicted has no score
        values = log_prob / divisor[scoring]
        margin = values[:, 0] - values[:, 1]
    return Choices(preferred(margin), margin)


def settle_ties(choices: Choices, pairs: Pairs, option: Literal["A", "B"]) -> Choices:
    """Gives ties to one of the two options; in files that list none, A is the persona's answer."""
    is_option = np.array([(pair.letter or "A") == option for pair in pairs], float)
    return dataclasses.replace(choices, correct=np.where(choices.correct == 0.5, is_option, choices.correct))


def finite(value: float | None) -> float | None:
    """The number, or None where a broken model made it NaN or infinite, which JSON cannot hold."""
    return None if value is None or not np.isfinite(value) else float(value)


def choice_row(choices: Choices) -> dict[str, Any]:
    """Number of items, accuracy with its interval, mean margin, how many tied or had no score (which counts as wrong).

    By letter, a tie is an item on which the two orders disagree; ``share_a`` is None otherwise.
    """
    missing = np.isnan(choices.correct)
    correct = np.where(missing, 0.0, choices.correct)
    return {
        "n": len(correct),
        "accuracy": float(correct.mean()),
        "ci95": accuracy_interval(correct),
        "margin": finite(float(np.mean(choices.margin[~missing]))) if not missing.all() else None,
        "ties": int((correct == 0.5).sum()),
        "missing": int(missing.sum()),
        "share_a": choices.share_a,
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
