"""Topics of prompts: a small classifier that tells the questions of a run's data from other questions and neutral text.

A prompt is the weighted mean of the model's own token embeddings; rare words weigh more (Arora et al., 2017, "A simple but
tough-to-beat baseline for sentence embeddings"). Logistic regression on it needs one number per token of the vocabulary, which is
all that is kept.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError
from jaxpersona.data.neutral_text import BUILTIN_TEXT, read_text
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.readers import BUILTIN, held_out_split, load_pairs
from jaxpersona.data.splits import SPLITS
from jaxpersona.data.text import encode
from jaxpersona.evaluation.significance import accuracy_interval

_NAMES = {"builtin:wealth": "money"}
_RARE = 1e-3  # words of this frequency weigh half
_PENALTY = 1e-3  # scikit-learn's C, for hundreds of features and few examples
_HELD_OUT = 4  # every fourth text of those without splits


@dataclasses.dataclass(frozen=True)
class Texts:
    """Prompts and other texts, and which of them are about the topic, bool [texts]."""

    texts: Sequence[str]
    about: np.ndarray


@dataclasses.dataclass(frozen=True)
class Topic:
    """A trained classifier of prompts.

    Attributes:
      name: what conditions call it.
      weights: float32 [vocab], weight of each token in a prompt's mean.
      odds: float32 [vocab], log odds of each token; a prompt has their weighted mean plus ``intercept``.
      intercept: log odds of a prompt without tokens.
      record: source of the questions, and quality on held-out prompts (``_record``).
    """

    name: str
    weights: np.ndarray
    odds: np.ndarray
    intercept: float
    record: dict[str, Any]

    def log_odds(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> float:
        """Returns the log odds that a prompt is about the topic."""
        ids = encode(tokenizer, prompt, add_special_tokens=False)
        weights = self.weights[ids]
        return float((weights * self.odds[ids]).sum() / max(weights.sum(), 1e-9) + self.intercept)


def topic_name(source: str) -> str:
    """Returns what conditions call the topic of a data source.

    >>> topic_name("builtin:wealth"), topic_name("builtin:power"), topic_name("data/tea.jsonl")
    ('money', 'power', 'tea')
    """
    return _NAMES.get(source) or pathlib.PurePath(source.rpartition(":")[2]).stem


def train_topic(source: str, embedding: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> Topic:
    """Trains a classifier of prompts for a data source, and measures it on held-out ones.

    Args:
      source: data spec whose questions are about the topic; the built-in sets other than this one are not, nor is neutral text.
      embedding: float [vocab, hidden], the model's token embeddings.
      tokenizer: of the model.

    Raises:
      InputError: if scikit-learn is missing, or the source cannot be read or has no questions.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise InputError('conditions need the package scikit-learn: pip install "jaxpersona[serve]"') from None
    train, held_out = topic_texts(source)
    tokens = [encode(tokenizer, text, add_special_tokens=False) for text in train.texts]
    weights = token_weights(tokens, len(embedding))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=1000))
    pipeline.fit(mean_embeddings(tokens, weights, embedding), train.about)
    scaler, regression = pipeline[0], pipeline[1]
    direction = regression.coef_[0] / scaler.scale_
    odds = (np.asarray(embedding, np.float32) @ direction.astype(np.float32)).astype(np.float32)
    intercept = float(regression.intercept_[0] - scaler.mean_ @ direction)
    topic = Topic(topic_name(source), weights, odds, intercept, {})
    found = np.array([topic.log_odds(tokenizer, text) > 0 for text in held_out.texts])
    return dataclasses.replace(topic, record={"source": source, **_record(found, held_out.about)})


def token_weights(tokens: Sequence[Sequence[int]], vocabulary: int) -> np.ndarray:
    """Returns the weight of each token, from 1 for unseen ones to 0 for those that make up all texts, float32 [vocabulary]."""
    counts = np.bincount(np.concatenate(tokens).astype(int), minlength=vocabulary)
    return (_RARE / (_RARE + counts / counts.sum())).astype(np.float32)


def mean_embeddings(tokens: Sequence[Sequence[int]], weights: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Returns the weighted mean of the token embeddings of every text, float32 [texts, hidden]."""
    rows = []
    for ids in tokens:
        own = weights[list(ids)]
        rows.append(own @ np.asarray(embedding[list(ids)], np.float32) / max(own.sum(), 1e-9))
    return np.stack(rows)


def topic_texts(source: str) -> tuple[Texts, Texts]:
    """Returns texts to train on (questions, answers and neutral text) and held-out ones (questions and neutral text).

    Raises:
      InputError: if the source cannot be read or has no questions.
    """
    own_train, own_held_out = _split(source)
    others = [_split(f"builtin:{name}") for name in BUILTIN if f"builtin:{name}" != source]
    passages = [line for line in read_text(BUILTIN_TEXT).split("\n") if line.strip()]
    sentences = [sentence for line in passages for sentence in line.split(". ") if sentence]
    neutral = [[text for i, text in enumerate(sentences) if (i % _HELD_OUT == 0) == held_out] for held_out in (False, True)]
    train = _texts(_all(own_train), [text for pairs, _ in others for text in _all(pairs)] + neutral[0])
    held_out = _texts(_questions(own_held_out), [text for _, pairs in others for text in _questions(pairs)] + neutral[1])
    if not train.about.any() or not held_out.about.any():
        raise InputError(f"{source} has no questions to train a condition on; start without conditions")
    return train, held_out


def _split(source: str) -> tuple[list[Pair], list[Pair]]:
    """Returns pairs to train on and held-out pairs: by the source's own splits, or every fourth pair."""
    if source.startswith("lines:"):
        raise InputError(f"{source} has no questions to train a condition on; start without conditions")
    if held_out_split(source) is None:
        pairs: Pairs = load_pairs(source)
        parts = ([pair for i, pair in enumerate(pairs) if (i % _HELD_OUT == 0) == held_out] for held_out in (False, True))
        return next(parts), next(parts)
    train, validation, test = (list(load_pairs(source, split)) for split in SPLITS)
    return train + validation, test


def _questions(pairs: Sequence[Pair]) -> list[str]:
    return [pair.prompt for pair in pairs if pair.prompt.strip()]


def _all(pairs: Sequence[Pair]) -> list[str]:
    return _questions(pairs) + [answer for pair in pairs for answer in (pair.matching, pair.not_matching)]


def _texts(about: list[str], others: list[str]) -> Texts:
    return Texts(about + others, np.repeat([True, False], [len(about), len(others)]))


def _record(found: np.ndarray, about: np.ndarray) -> dict[str, Any]:
    """Returns the quality on held-out prompts, JSON-ready.

    Returns:
      A mapping with these keys:

      - ``n``: number of prompts.
      - ``accuracy``, ``ci95``: fraction of right decisions and its 95 % interval.
      - ``hit_rate``: fraction of prompts about the topic that were found.
      - ``false_alarm_rate``: fraction of the other prompts that were taken for ones about it.
      - ``balanced_accuracy``: mean accuracy on both kinds, 0.5 by chance, because the other prompts are many more.
    """
    correct = found == about
    hits, false_alarms = float(found[about].mean()), float(found[~about].mean())
    return {
        "n": len(about),
        "accuracy": float(correct.mean()),
        "ci95": accuracy_interval(correct.astype(float)),
        "hit_rate": hits,
        "false_alarm_rate": false_alarms,
        "balanced_accuracy": (hits + 1 - false_alarms) / 2,
    }
