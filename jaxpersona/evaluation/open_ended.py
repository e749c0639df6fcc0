"""Open answers: what a model says to held-out questions, judged by a classifier, with how coherent it is beside.

A mask that wins multiple choice may still not talk that way, and one that talks that way may no longer talk sense.
"""

from typing import Any

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, opening_ids
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.choices import Choices, choice_row, finite, preferred, separation_row
from jaxpersona.evaluation.evaluator import opposites
from jaxpersona.evaluation.judge import Judge
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling

_BATCH = 16


class OpenEnded:
    """Lets one set of parameters after another answer the same questions, greedily.

    Attributes:
      rows: for every case and persona, the share of answers the judge gives to the persona, and their coherence.
      answers: the answers themselves, one row each.
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
        """Asks the questions of ``pairs``, those that have one.

        Raises:
          InputError: when none has a question, or a question and its answer do not fit the model's positions.
        """
        self.model, self.judge, self.personas, self.stage = model, judge, personas, stage
        self.max_new_tokens = max_new_tokens
        self.questions = [pair for pair in pairs if pair.prompt.strip()]
        mode = "prompt_response" if text == "response" else text
        self.prompts = [opening_ids(model.tokenizer, pair, mode) for pair in self.questions]
        if not self.prompts:
            raise InputError(f"{pairs.source} has no questions to ask; leave out open_ended")
        room = model.config.max_positions - max(map(len, self.prompts))
        if not 1 <= max_new_tokens <= room:
            raise InputError(f"max_new_tokens is {max_new_tokens}; behind the longest question 1 to {room} are possible")
        self.rows: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.choices: dict[str, Choices] = {}

    def add(self, name: str, params: Params) -> None:
        """Adds the answers of the model with these parameters."""
        ids = self._generate(name, params)
        texts = [text.strip() for text in self.model.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        margin = self.judge.margin(texts)
        self.choices[name] = found = Choices(preferred(margin), margin)
        coherence = {**self._fluency(ids), "empty": sum(not text for text in texts)}
        for persona, seen in zip(self.personas, (found, found.against()), strict=True):
            row = choice_row(seen)
            judged = {"n": row["n"], "share": row["accuracy"], "ci95": row["ci95"], "margin": row["margin"]}
            self.rows.append({"mask": name, "persona": persona, **judged, **coherence})
        for pair, text, odds in zip(self.questions, texts, margin, strict=True):
            log_odds = None if np.isnan(odds) else float(odds)
            self.answers.append({"mask": name, "question": pair.prompt, "answer": text, f"log_odds_{self.personas[0]}": log_odds})

    def record(self, seed: int = 42) -> dict[str, Any]:
        """All but the answers: the judge, a row for every case and persona, and the paired separations."""
        separation = []
        for first, second in opposites(self.choices, self.personas):
            row = separation_row(self.choices[first], self.choices[second], seed)
            separation.append({"masks": [first, second], **row})
        settings = {"questions": len(self.questions), "max_new_tokens": self.max_new_tokens}
        return {**settings, "judge": self.judge.record(), "results": self.rows, "separation": separation}

    def _generate(self, name: str, params: Params) -> list[list[int]]:
        """Greedy answers; questions of like length share a batch, and all batches have one height, so that few shapes compile."""
        order = sorted(range(len(self.prompts)), key=lambda i: len(self.prompts[i]))
        count = -(-len(order) // _BATCH)
        height = -(-len(order) // count)
        found: dict[int, list[int]] = {}
        for number in range(count):
            batch = order[number * height : (number + 1) * height]
            prompts = [self.prompts[i] for i in batch]
            filled = prompts + prompts[-1:] * (height - len(prompts))
            found |= zip(batch, generate_ids(self.model, params, filled, self.max_new_tokens, Sampling()), strict=False)
            self.stage.part(f"{name}, answers").progress(number + 1, count)
        return [found[i] for i in range(len(self.prompts))]

    def _fluency(self, ids: list[list[int]]) -> dict[str, float | None]:
        """Perplexity of all answers under the bare model, given the questions; mean share of repeated 3-grams; mean length."""
        said = [pair for pair in zip(self.prompts, ids, strict=True) if pair[1]]
        texts = [TokenizedPair(tuple(prompt), tuple(answer), (), len(prompt), truncated=False) for prompt, answer in said]
        stage = self.stage.part("answers under the base model")
        nll = score_answers(self.model, self.model.params, texts, stage).nll() if texts else None
        repeated = [_repeated_trigrams(answer) for answer in ids if len(answer) >= 3]
        return {
            "perplexity_under_base": None if nll is None else finite(float(np.exp(nll))),
            "repeated_3grams": float(np.mean(repeated)) if repeated else None,
            "mean_tokens": float(np.mean([len(answer) for answer in ids])),
        }


def _repeated_trigrams(ids: list[int]) -> float:
    """Share of the runs of three tokens that stood in the text before.

    >>> _repeated_trigrams([1, 2, 3, 1, 2, 3])
    0.25
    """
    runs = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(runs)) / len(runs)
