"""Whether a text talks like a persona: a classifier of words and word pairs, trained on the answers of the calibration pairs."""

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
      pipeline: scikit-learn's; its decision is above 0 for the persona of the matching answers.
      held_out: what it decided on answers it was not trained on, [answers], seen from the persona each belongs to.
    """

    pipeline: Any
    held_out: Choices

    def margin(self, texts: Sequence[str]) -> np.ndarray:
        """Log odds of the persona of the matching answers, float [texts]; NaN for an empty text."""
        odds = self.pipeline.decision_function(list(texts))
        return np.where([bool(text.strip()) for text in texts], odds, np.nan)

    def record(self) -> dict[str, Any]:
        """Its accuracy on held-out answers, with interval and number of answers."""
        row = choice_row(self.held_out)
        return {"classifier": "TF-IDF of words and word pairs, logistic regression"} | {
            key: row[key] for key in ("n", "accuracy", "ci95")
        }


def train_judge(calibration: Pairs, held_out: Pairs) -> Judge:
    """Trains on the answers of ``calibration`` and tries the classifier on those of ``held_out``.

    Raises:
      InputError: when scikit-learn is missing, or the answers hold no word.
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
    """All answers, and 1 for the persona's and -1 for the opposite one's."""
    texts = [text for pair in pairs for text in (pair.matching, pair.not_matching)]
    return texts, np.tile([1, -1], len(texts) // 2)
