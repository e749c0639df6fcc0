"""Generates open answers to held-out questions, and measures their persona with a classifier, and their coherence.

A mask that wins multiple choice may not answer like its persona, and one that does may no longer answer coherently.
"""

from typing import Any

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, prompt_ids
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.choices import Choices, choice_row, finite, preferred, separation_row
from jaxpersona.evaluation.evaluator import opposites
from jaxpersona.evaluation.judge import Judge
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling

_BATCH = 16


class OpenEnded:
    """Generates greedy answers to the same questions with several sets of parameters.

    Attributes:
      rows: one per case and persona: the fraction of answers that the judge assigns to the persona, and coherence measures.
      answers: the answers, one row each.
      choices: the judge's decision on every answer, by case.
    """

    def __init__(
        self,
        model: Model,
        pairs: Pairs,
        judge: Judge,
        personas: tuple[str, str],
        text: TextMode = "chat",
        max_new_tokens: int = 64,
        stage: Stage = QUIET,
    ):
        """Selects the pairs that have a question.

        Args:
          pairs: the pairs whose questions are answered.
          judge: from ``train_judge``.
          personas: the persona of the matching answers and its opposite.
          text: how a question is put to the model (see ``data/text.py``).
          max_new_tokens: maximum tokens per answer.
          stage: progress counts batches.

        Raises:
          InputError: if no pair has a question, or a question and its answer do not fit the model's positions.
        """
        self.model, self.judge, self.personas, self.stage = model, judge, personas, stage
        self.max_new_tokens = max_new_tokens
        self.questions = [pair for pair in pairs if pair.prompt.strip()]
        mode = "prompt_response" if text == "response" else text
        self.prompts = [prompt_ids(model.tokenizer, pair, mode) for pair in self.questions]
        if not self.prompts:
            raise InputError(f"{pairs.source} has no questions to ask; leave out open_ended")
        room = model.config.max_positions - max(map(len, self.prompts))
        if not 1 <= max_new_tokens <= room:
            raise InputError(f"max_new_tokens is {max_new_tokens}; behind the longest question 1 to {room} are possible")
        self.rows: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.choices: dict[str, Choices] = {}

    def add(self, name: str, params: Params) -> None:
        """Generates and judges the answers of case ``name`` with parameters ``params``."""
        ids = self._generate(name, params)
        texts = [text.strip() for text in self.model.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        margin = self.judge.margin(texts)
        self.choices[name] = choices = Choices(preferred(margin), margin)
        coherence = {**self._coherence(ids), "empty": sum(not text for text in texts)}
        for persona, own in zip(self.personas, (choices, choices.against()), strict=True):
            row = choice_row(own)
            judged = {"n": row["n"], "share": row["accuracy"], "ci95": row["ci95"], "margin": row["margin"]}
            self.rows.append({"mask": name, "persona": persona, **judged, **coherence})
        for pair, text, odds in zip(self.questions, texts, margin, strict=True):
            log_odds = None if np.isnan(odds) else float(odds)
            self.answers.append({"mask": name, "question": pair.prompt, "answer": text, f"log_odds_{self.personas[0]}": log_odds})

    def record(self, seed: int = 42) -> dict[str, Any]:
        """Returns the settings, the judge's accuracy, the rows, and the separations of opposite cases, JSON-ready."""
        separation = []
        for first, second in opposites(self.choices, self.personas):
            row = separation_row(self.choices[first], self.choices[second], seed)
            separation.append({"masks": [first, second], **row})
        settings = {"questions": len(self.questions), "max_new_tokens": self.max_new_tokens}
        return {**settings, "judge": self.judge.record(), "results": self.rows, "separation": separation}

    def _generate(self, name: str, params: Params) -> list[list[int]]:
        """Returns the token ids of the greedy answers.

        Questions of similar length share a batch, and all batches have the same number of rows, so that few shapes compile.
        """
        order = sorted(range(len(self.prompts)), key=lambda i: len(self.prompts[i]))
        count = -(-len(order) // _BATCH)
        rows = -(-len(order) // count)
        answers: dict[int, list[int]] = {}
        for number in range(count):
            batch = order[number * rows : (number + 1) * rows]
            prompts = [self.prompts[i] for i in batch]
            padded = prompts + prompts[-1:] * (rows - len(prompts))
            answers |= zip(batch, generate_ids(self.model, params, padded, self.max_new_tokens, Sampling()), strict=False)
            self.stage.part(f"{name}, answers").progress(number + 1, count)
        return [answers[i] for i in range(len(self.prompts))]

    def _coherence(self, ids: list[list[int]]) -> dict[str, float | None]:
        """Returns the answers' perplexity under the base model given the questions, repeated 3-grams, and mean length."""
        answered = [pair for pair in zip(self.prompts, ids, strict=True) if pair[1]]
        texts = [TokenizedPair(tuple(prompt), tuple(answer), (), len(prompt), truncated=False) for prompt, answer in answered]
        stage = self.stage.part("answers under the base model")
        nll = score_answers(self.model, self.model.params, texts, stage).nll() if texts else None
        repeated = [_repeated_trigrams(answer) for answer in ids if len(answer) >= 3]
        return {
            "perplexity_under_base": None if nll is None else finite(float(np.exp(nll))),
            "repeated_3grams": float(np.mean(repeated)) if repeated else None,
            "mean_tokens": float(np.mean([len(answer) for answer in ids])),
        }


def _repeated_trigrams(ids: list[int]) -> float:
    """Returns the fraction of 3-grams of tokens that occurred earlier in the text.

    >>> _repeated_trigrams([1, 2, 3, 1, 2, 3])
    0.25
    """
    trigrams = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams)
