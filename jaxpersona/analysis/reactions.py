"""Has cases answer what a character would say, multiple-choice questions of a script (the task Reaction of RoleAgentBench).

The prompt names who asks. It names the character who is asked only behind the prompt ``role``, so that a mask and a prompt are
measured apart and together.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.analysis.sampled_options import sample_options
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.pairs import Pair
from jaxpersona.data.scripts import Reaction, said_to
from jaxpersona.data.text import TextMode
from jaxpersona.evaluation.continuation_scores import score_continuations
from jaxpersona.evaluation.evaluator import BASE
from jaxpersona.evaluation.open_answers.continuations import continuation_ids, question_ids
from jaxpersona.evaluation.prompts import refuses_prompts
from jaxpersona.evaluation.significance import accuracy_interval, mcnemar
from jaxpersona.models.model import Model

LIKELIHOOD, PER_TOKEN, LETTER, SAMPLED = "likelihood", "per token", "letter", "sampled"
ROLE = "role"
OWN, OTHERS = "own character's mask", "other characters' masks"


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The questions under one prompt.

    Attributes:
      open: prompts without options, [questions] token ids.
      rotated: prompts that list the options, once from each of them on, [questions][rotation].
    """

    open: list[list[int]]
    rotated: list[list[list[int]]]


class ReactionAnswers:
    """Collects the answers of cases to the same questions.

    Attributes:
      reactions: the questions.
      correct: float [questions] by case, prompt and way of answering: 1 for the right option, a share of it for a tie.
      unanswered: number of samples without an option, by the same keys.
    """

    def __init__(
        self,
        model: Model,
        reactions: Sequence[Reaction],
        text: TextMode = "chat",
        letters: bool = True,
        sampled: bool = True,
        seed: int = 42,
        stage: Stage = QUIET,
    ):
        """Tokenizes the questions, without a prompt and behind one that names the character.

        Args:
          text: how a question is put to the model (see ``data/text.py``).
          letters: also asks for a letter.
          sampled: also samples answers.
          seed: of the samples.
          stage: progress.
        """
        self.model, self.reactions, self.seed, self.stage = model, list(reactions), seed, stage
        self.letters, self.sampled = letters, sampled
        self._mode: TextMode = "prompt_response" if text == "response" else text
        self._inline = refuses_prompts(model, self._mode)
        self._asked = {prompt: self._ask(prompt) for prompt in (BASE, ROLE)}
        self.correct: dict[tuple[str, str, str], np.ndarray] = {}
        self.unanswered: dict[tuple[str, str, str], int] = {}

    def _ask(self, prompt: str) -> _Asked:
        return _Asked(
            [self._ids(one, said_to(one.asker, one.question), prompt) for one in self.reactions],
            [[self._ids(one, listed(one, start), prompt) for start in range(len(one.options))] for one in self.reactions],
        )

    def _ids(self, one: Reaction, question: str, prompt: str) -> list[int]:
        role = f"You are {one.target}." if prompt == ROLE else ""
        pair = Pair(f"{role}\n\n{question}".strip(), "", "") if self._inline else Pair(question, "", "", role)
        return question_ids(self.model, pair, self._mode)

    def add(self, case: str, params: Params) -> None:
        """Adds the answers of a case."""
        for number, (prompt, asked) in enumerate(self._asked.items(), start=1):
            self.stage.part(case).progress(number - 1, len(self._asked))
            found = self._by_likelihood(params, asked)
            if self.letters:
                found[LETTER] = self._by_letter(params, asked)
            for way, scores in found.items():
                self.correct[case, prompt, way] = np.array(
                    [won(own, one.right) for own, one in zip(scores, self.reactions, strict=True)]
                )
            if self.sampled:
                self._sample(case, prompt, params, asked)
            self.stage.part(case).progress(number, len(self._asked))

    def _by_likelihood(self, params: Params, asked: _Asked) -> dict[str, list[np.ndarray]]:
        """Returns the log-probabilities of the options' texts, in all and per token."""
        requests = [
            (ids, continuation_ids(self.model, option, self._mode))
            for ids, one in zip(asked.open, self.reactions, strict=True)
            for option in one.options
        ]
        scores = score_continuations(self.model, params, requests)
        ends = np.cumsum([len(one.options) for one in self.reactions])[:-1]
        whole, tokens = np.split(scores.log_prob, ends), np.split(scores.tokens, ends)
        return {LIKELIHOOD: whole, PER_TOKEN: [own / count for own, count in zip(whole, tokens, strict=True)]}

    def _by_letter(self, params: Params, asked: _Asked) -> list[np.ndarray]:
        """Returns the mean log-probability of each option's letter; every option takes every letter once."""
        requests = []
        for one, rotations in zip(self.reactions, asked.rotated, strict=True):
            letters = [continuation_ids(self.model, chr(ord("A") + i), self._mode) for i in range(len(one.options))]
            requests += [(ids, letter) for ids in rotations for letter in letters]
        scores, at, found = score_continuations(self.model, params, requests).log_prob, 0, []
        for one in self.reactions:
            count = len(one.options)
            table = scores[at : at + count**2].reshape(count, count)  # [rotation, letter]
            found.append(np.mean([np.roll(row, start) for start, row in enumerate(table)], axis=0))
            at += count**2
        return found

    def _sample(self, case: str, prompt: str, params: Params, asked: _Asked) -> None:
        """Samples an answer to every question, with its options in the order of the file."""
        ids, options = [rotations[0] for rotations in asked.rotated], [one.options for one in self.reactions]
        named = sample_options(self.model, params, ids, options, self.seed)
        self.correct[case, prompt, SAMPLED] = np.array(
            [own == one.right for own, one in zip(named, self.reactions, strict=True)], float
        )
        self.unanswered[case, prompt, SAMPLED] = int(np.isnan(named).sum())

    def combine(self, masks: Mapping[str, str]) -> None:
        """Adds the cases ``OWN`` and ``OTHERS``, which take every question from the mask of its character, or of all others.

        Args:
          masks: case by character; questions to characters without a mask do not count.
        """
        for prompt, way in dict.fromkeys((prompt, way) for case, prompt, way in self.correct if case == BASE):
            own, others = np.full((2, len(self.reactions)), np.nan)
            for i, one in enumerate(self.reactions):
                if one.target in masks:
                    own[i] = self.correct[masks[one.target], prompt, way][i]
                    rest = [self.correct[case, prompt, way][i] for name, case in masks.items() if name != one.target]
                    others[i] = np.mean(rest) if rest else np.nan
            self.correct[OWN, prompt, way] = own
            if not np.isnan(others).all():
                self.correct[OTHERS, prompt, way] = others

    def record(self, perplexity: Mapping[str, float | None]) -> dict[str, Any]:
        """Returns the results, JSON-ready; a row per case, prompt, way and character, and of all characters.

        - ``accuracy``: share of right answers, ``ci95`` its Wilson interval; ``chance`` that of guessing.
        - ``p_value``: McNemar's exact test against the base model without a prompt, on the same questions. None for ``OTHERS``, a
          mean of several answers, which would count as worse wherever one of them is wrong.

        Args:
          perplexity: on neutral text, by case.
        """
        targets = np.array([one.target for one in self.reactions])
        names = list(dict.fromkeys(targets.tolist()))
        rows = [self._row(key, name, targets == name) for key in self.correct for name in names]
        rows += [self._row(key, "all", np.ones(len(targets), bool)) for key in self.correct]
        known = [row for row in rows if row["n"]]
        return {"questions": len(targets), "characters": names, "perplexity": dict(perplexity), "results": known}

    def _row(self, key: tuple[str, str, str], name: str, asked: np.ndarray) -> dict[str, Any]:
        case, prompt, way = key
        own = asked & ~np.isnan(self.correct[key])
        row: dict[str, Any] = {"case": case, "prompt": prompt, "way": way, "character": name, "n": int(own.sum())}
        if not own.any():
            return row
        correct, base = self.correct[key][own], self.correct[BASE, BASE, way][own]
        row |= {"accuracy": float(correct.mean()), "ci95": accuracy_interval(correct)}
        row["chance"] = float(np.mean([1 / len(one.options) for one, counts in zip(self.reactions, own, strict=True) if counts]))
        row["p_value"] = None if key[:2] == (BASE, BASE) or case == OTHERS else mcnemar(correct, base)
        return row | {"unanswered": self.unanswered.get(key) if name == "all" else None}


def listed(one: Reaction, start: int = 0) -> str:
    """Returns the question with its options as letters, beginning with option number ``start``."""
    order = [*one.options[start:], *one.options[:start]]
    options = "\n".join(f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(order))
    return f"{said_to(one.asker, one.question)}\n\n{options}\n\nAnswer with one letter.\nAnswer:"


def won(scores: np.ndarray, right: int) -> float:
    """Returns 1 if the right option has the highest score, a share if it ties with others, 0 if it has not, or a score is NaN.

    >>> won(np.array([0.5, 2.0, 2.0]), 1), won(np.array([0.5, 2.0, 2.0]), 0)
    (0.5, 0.0)
    """
    best = scores == scores.max()
    return float(best[right] / best.sum()) if best.any() else 0.0
