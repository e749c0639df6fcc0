"""Classifies open answers by persona, with a bag of words and word pairs trained on the answers of the calibration pairs."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.evaluation.choices import Choices, choice_row, preferred


@dataclasses.dataclass(frozen=True)
class Judge:
    """A trained classifier.

    Attributes:
      pipeline: scikit-learn pipeline whose decision function is above 0 for the persona of the matching answers.
      held_out: its decisions on held-out answers, [answers]; correct where it recognised the answer's persona.
    """

    pipeline: Any
    held_out: Choices

    def margin(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the log odds of the persona of the matching answers, float [texts]; NaN for an empty text."""
        odds = self.pipeline.decision_function(list(texts))
        return np.where([bool(text.strip()) for text in texts], odds, np.nan)

    def record(self) -> dict[str, Any]:
        """Returns the judge's accuracy on held-out answers, its 95 % interval and the number of answers."""
        row = choice_row(self.held_out)
        return {"classifier": "TF-IDF of words and word pairs, logistic regression"} | {
            key: row[key] for key in ("n", "accuracy", "ci95")
        }


def train_judge(calibration: Pairs, held_out: Pairs) -> Judge:
    """Trains a judge on the answers of ``calibration`` and tests it on the answers of ``held_out``.

    Raises:
      InputError: if scikit-learn is missing or the answers contain no word.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise InputError('open_ended needs the package scikit-learn: pip install "jaxpersona[evaluate]"') from None
    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    texts, signs = _answers(calibration)
    try:
        pipeline.fit(texts, signs > 0)
    except ValueError as error:
        raise InputError(f"the judge of open answers cannot be trained on {calibration.source} ({error})") from None
    texts, signs = _answers(held_out)
    margin = pipeline.decision_function(texts) * signs
    return Judge(pipeline, Choices(preferred(margin), margin))


def _answers(pairs: Iterable[Pair]) -> tuple[list[str], np.ndarray]:
    """Returns all answers, and their labels: 1 for matching answers, -1 for opposite ones."""
    texts = [text for pair in pairs for text in (pair.matching, pair.not_matching)]
    return texts, np.tile([1, -1], len(texts) // 2)
