"""Generates open answers to held-out questions, and measures their persona with a classifier, and their coherence.

A mask that wins multiple choice may not answer like its persona, and one that does may no longer answer coherently.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.text import TextMode, TokenizedPair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.choices import Choices, choice_row, finite, preferred, separation_row
from jaxpersona.evaluation.evaluator import BASE, MakeParams, made_by, opposites
from jaxpersona.evaluation.open_answers.answer import Answer
from jaxpersona.evaluation.open_answers.continuations import question_ids
from jaxpersona.evaluation.open_answers.fluency import distinct, invalid, repeated_trigrams
from jaxpersona.evaluation.open_answers.panel import Panel, fix_panel
from jaxpersona.evaluation.open_answers.tally import SAMPLED, Tally
from jaxpersona.evaluation.open_answers.tfidf import Judge
from jaxpersona.evaluation.prompts import AddPrompt
from jaxpersona.models.decoding import generate_batches
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling

TEMPERATURE = 0.7
"""Of samples."""


class OpenEnded:
    """Generates answers to the same questions with several sets of parameters, greedily and as samples.

    Attributes:
      rows: one per greedy case and persona: the fraction of answers that the judge assigns to the persona, and coherence.
      answers: the answers, one row each.
      choices: the judge's decision on every answer, by greedy case.
      prompted: cases of the base model behind a prompt, by name, with the prompt.
      sampled: cases of the base model and the masks with samples.
      tally: the panel's judgement, after ``add_panel``.
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
        prompted: Mapping[str, AddPrompt] | None = None,
        samples: int = 0,
        seed: int = 42,
    ):
        """Selects the pairs that have a question.

        Args:
          pairs: the pairs whose questions are answered.
          judge: from ``train_judge``.
          personas: the persona of the matching answers and its opposite.
          text: how a question is put to the model (see ``data/text.py``).
          max_new_tokens: maximum tokens per answer.
          stage: progress counts batches; checkpoints keep each case's answers.
          prompted: functions that add a prompt to a pair, by the name of the case that they make of the base model.
          samples: answers per question at temperature ``TEMPERATURE``, besides the greedy one; 0 means none.
          seed: of the samples; all cases have the same draws.

        Raises:
          InputError: if no pair has a question, or a question and its answer do not fit the model's positions.
        """
        self.model, self.judge, self.personas, self.stage = model, judge, personas, stage
        self.max_new_tokens, self.text, self.prompted = max_new_tokens, text, dict(prompted or {})
        self.questions = [pair for pair in pairs if pair.prompt.strip()]
        self.prompts = self._prompt_ids(self.questions)
        if not self.prompts:
            raise InputError(f"{pairs.source} has no questions to ask; leave out open_ended")
        self._behind = {name: self._prompt_ids(list(map(add, self.questions))) for name, add in self.prompted.items()}
        longest = max(len(ids) for prompts in (self.prompts, *self._behind.values()) for ids in prompts)
        positions = model.config.max_positions
        room = positions - longest
        if room < 1:
            where = f"the longest question, with its prompt, has {longest} tokens, the model {positions} positions"
            raise InputError(f"open_ended: {where}; ask shorter ones, or lower rag_k")
        if not 1 <= max_new_tokens <= room:
            raise InputError(f"max_new_tokens is {max_new_tokens}; behind the longest question 1 to {room} are possible")
        self.samples, self.seed = samples, seed
        self.sampled = tuple(name + SAMPLED for name in (BASE, *personas)) if samples else ()
        self._base_ids: list[list[int]] | None = None
        self.tally: Tally | None = None
        self.rows: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.choices: dict[str, Choices] = {}

    def _prompt_ids(self, pairs: Sequence[Pair]) -> list[list[int]]:
        return [question_ids(self.model, pair, self.text) for pair in pairs]

    def add_panel(self, train: Pairs, held_out: Pairs, prompts: tuple[str, str] | None, seed: int = 42) -> Panel:
        """Fixes the panel that judges all cases added from now on, with the base model's answers as a reference.

        Args:
          train: the pairs that the judge was trained on.
          held_out: pairs with known answers, among them those whose questions are asked.
          prompts: system texts of the persona and of its opposite, if both are known.
          seed: of the references.
        """
        self._base_ids = self._generate(BASE, self.model.params)
        known = [pair for pair in held_out if pair.prompt.strip()]
        base = self._answers(self._base_ids)
        panel = fix_panel(self.model, self.judge, train, known, base, prompts, self.text, seed, self.stage)
        self.tally = Tally(panel, self.personas)
        return panel

    def _answers(self, ids: Sequence[Sequence[int]]) -> list[Answer]:
        texts = self.model.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [
            Answer(pair, text.strip(), tuple(own), len(own) < self.max_new_tokens)
            for pair, text, own in zip(self.questions * (len(ids) // len(self.questions)), texts, ids, strict=True)
        ]

    def cases_of(self, name: str) -> list[str]:
        """Returns the cases that share the parameters of case ``name``: itself, the base model's prompts, and samples."""
        return [name, *(self.prompted if name == BASE else ()), *(case for case in self.sampled if case == name + SAMPLED)]

    def add(self, name: str, params: Params | MakeParams) -> None:
        """Generates and judges the answers of case ``name`` with parameters ``params``."""
        ids = self._base_ids if name == BASE and self._base_ids is not None else self._generate(name, params)
        answers, count = self._answers(ids), len(self.questions)
        margin = self.judge(answers)
        if name not in self.sampled:
            self._add_rows(name, ids, answers, margin)
        values = [{} for _ in answers] if self.tally is None else self.tally.add(name, answers, len(answers) // count)
        for index, (answer, odds, judged) in enumerate(zip(answers, margin, values, strict=True)):
            said = {"mask": name, "question": answer.question.prompt, "sample": index // count + 1, "answer": answer.text}
            self.answers.append({**said, f"log_odds_{self.personas[0]}": finite(odds), **judged})

    def _add_rows(self, name: str, ids: list[list[int]], answers: Sequence[Answer], margin: np.ndarray) -> None:
        self.choices[name] = choices = Choices(preferred(margin), margin)
        coherence = {**self._coherence(ids), "empty": sum(not answer.text for answer in answers)}
        coherence["invalid"] = float(np.mean([invalid(answer) for answer in answers]))
        for persona, own in zip(self.personas, (choices, choices.against()), strict=True):
            row = choice_row(own)
            judged = {"n": row["n"], "share": row["accuracy"], "ci95": row["ci95"], "margin": row["margin"]}
            self.rows.append({"mask": name, "persona": persona, **judged, **coherence})

    def record(self, seed: int = 42) -> dict[str, Any]:
        """Returns the settings, the judge's accuracy, the rows, and the separations of opposite cases, JSON-ready."""
        separation = []
        for first, second in opposites(self.choices, self.personas):
            row = separation_row(self.choices[first], self.choices[second], seed)
            separation.append({"masks": [first, second], **row})
        settings = {"questions": len(self.questions), "max_new_tokens": self.max_new_tokens, "samples": self.samples}
        record = {**settings, "judge": self.judge.record(), "results": self.rows, "separation": separation}
        return record if self.tally is None else record | {"panel": self.tally.record(seed)}

    def _generate(self, name: str, params: Params | MakeParams) -> list[list[int]]:
        """Returns the token ids of the answers, from the stage's checkpoint if there is one: all of one sample, then the next."""
        asked, sampling = self._behind.get(name, self.prompts), Sampling()
        if name in self.sampled:
            asked, sampling = self.prompts * self.samples, Sampling(temperature=TEMPERATURE)
        stage, make = self.stage.part(f"{name}, answers"), made_by(params)

        def generated() -> dict[str, np.ndarray]:
            answers = generate_batches(self.model, make(), asked, self.max_new_tokens, sampling, self.seed, stage)
            lengths = np.array([len(answer) for answer in answers])
            return {"ids": np.array([token for answer in answers for token in answer], np.int32), "lengths": lengths}

        kept = stage.once(generated)
        ends = np.cumsum(kept["lengths"])
        return [ids.tolist() for ids in np.split(kept["ids"], ends[:-1])]

    def _coherence(self, ids: list[list[int]]) -> dict[str, float | None]:
        """Returns the answers' perplexity under the base model given the questions, repetition, diversity and mean length."""
        answered = [pair for pair in zip(self.prompts, ids, strict=True) if pair[1]]
        texts = [TokenizedPair(tuple(prompt), tuple(answer), (), len(prompt), truncated=False) for prompt, answer in answered]
        stage = self.stage.part("answers under the base model")
        nll = score_answers(self.model, self.model.params, texts, stage).nll() if texts else None
        repeated = [repeated_trigrams(answer) for answer in ids if len(answer) >= 3]
        return {
            "perplexity_under_base": None if nll is None else finite(float(np.exp(nll))),
            "repeated_3grams": float(np.mean(repeated)) if repeated else None,
            "distinct_1": distinct(ids, 1),
            "distinct_2": distinct(ids, 2),
            "mean_tokens": float(np.mean([len(answer) for answer in ids])),
        }
