"""Evaluates parameters on held-out pairs: accuracy and damage of each case, and separation of opposite cases."""

import dataclasses
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, tokenize_pair
from jaxpersona.evaluation.answers import AnswerScores, score_answers
from jaxpersona.evaluation.choices import Choices, Scoring, answer_bytes, choice_row, choose, finite, separation_row, settle_ties
from jaxpersona.evaluation.letters import choose_letters, letter_only, lettered, listed_options
from jaxpersona.evaluation.likelihood_changes import LIKELIHOOD_KEYS, likelihood_row
from jaxpersona.evaluation.prompts import AddPrompt
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import perplexity

BASE = "none"
"""The case of the base model, and the prompt that is none."""
MakeParams = Callable[[], Params]
"""Returns parameters. Called only for results that no checkpoint has."""


def made_by(params: Params | MakeParams) -> MakeParams:
    """Returns a function that returns the parameters; a function is returned unchanged."""
    return params if callable(params) else lambda: params


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out pairs, tokenized under every prompt.

    Attributes:
      pairs: the pairs.
      tokenized: tokenized pairs by prompt name; ``none`` is without a prompt.
      letters: by prompt name, questions for an option letter, with the persona's answer as A and with it as B; empty if letters
        are off.
      lengths: int [pairs, 2], bytes of the answers.
      listed: [pairs], from ``letters.listed_options``.
    """

    pairs: Pairs
    tokenized: dict[str, list[TokenizedPair]]
    letters: dict[str, tuple[list[TokenizedPair], list[TokenizedPair]]]
    lengths: np.ndarray
    listed: np.ndarray


def prepare_held_out(
    model: Model,
    pairs: Pairs,
    prompts: Mapping[str, AddPrompt],
    text: TextMode = "chat",
    max_length: int = 512,
    letters: bool = True,
) -> HeldOut:
    """Tokenizes held-out pairs without a prompt and under each prompt.

    Args:
      prompts: functions that add a prompt to a pair, by name.
      text: which parts of a pair the model sees (see ``data/text.py``).
      max_length: maximum tokens of a pair without a prompt; prompts and options may use all of the model's positions.
      letters: also tokenizes the pairs as questions for an option letter.

    Raises:
      InputError: if the two answers of a pair have equal tokens or are cut away, or ``max_length`` exceeds the model's
        positions.
    """
    positions = model.config.max_positions
    if max_length > positions:
        raise InputError(f"data.max_length is {max_length}, the model has {positions} positions; lower it")
    prompted = {name: dataclasses.replace(pairs, items=tuple(map(add, pairs))) for name, add in prompts.items()}
    tokenized = {"none": _tokenize(model, pairs, text, max_length, "data.max_length")}
    tokenized |= {name: _tokenize(model, some, text, positions, "the model's positions") for name, some in prompted.items()}
    orders = {}
    for name, some in ({"none": pairs, **prompted} if letters else {}).items():
        orders[name] = (_letters(model, some, text, True), _letters(model, some, text, False))
    return HeldOut(pairs, tokenized, orders, answer_bytes(pairs), listed_options(pairs))


def _letters(model: Model, pairs: Pairs, text: TextMode, matching_is_a: bool) -> list[TokenizedPair]:
    """Tokenizes pairs as questions for a letter. Mode ``response`` becomes ``prompt_response``: the question has the options."""
    listed = dataclasses.replace(pairs, items=tuple(lettered(pair, matching_is_a) for pair in pairs))
    mode = "prompt_response" if text == "response" else text
    limit = "the model's positions once both are listed as options (--letters false leaves that out)"
    return [letter_only(pair) for pair in _tokenize(model, listed, mode, model.config.max_positions, limit)]


def _tokenize(model: Model, pairs: Pairs, text: TextMode, max_length: int, limit: str) -> list[TokenizedPair]:
    tokenized = [tokenize_pair(model.tokenizer, pair, text, max_length) for pair in pairs]
    for number, (pair, tokens) in enumerate(zip(pairs, tokenized, strict=True), start=1):
        if not (tokens.matching and tokens.not_matching):
            question = textwrap.shorten(pair.prompt, 60, placeholder=" ...")
            reason = f"its answers are equal or cut by {limit}; leave it out (its question: {question!r})"
            raise InputError(f"{pairs.source}: pair {number} cannot be scored; {reason}")
    return tokenized


class Evaluator:
    """Scores several sets of parameters on the same items, and keeps the choices for paired tests.

    A case is a named set of parameters: masks folded in, a fine-tuned model, or steering vectors in biases.

    Attributes:
      rows: one per case, prompt, scoring and persona: ``mask`` (the case), ``prompt``, ``scoring``, ``persona``, the keys of
        ``choice_row``, ``perplexity`` on neutral text, ``answer_nll`` (nats per answer token) and those of ``likelihood_row``.
        Changes are relative to the base model under the same prompt; of the base model under a prompt, to none.
      choices: the choice on every item, by case, prompt and scoring.
      not_finite: by case, where its log-probabilities are not finite.
      base_scores: the base model's scores by prompt.
    """

    def __init__(
        self,
        model: Model,
        held_out: HeldOut,
        personas: tuple[str, str],
        tokens: np.ndarray | None,
        stage: Stage = QUIET,
        protocol: Protocol = STRICT,
        base_scores: Mapping[str, AnswerScores] | None = None,
        seed: int = 42,
    ):
        """Starts an evaluation without cases.

        Args:
          held_out: from ``prepare_held_out``.
          personas: the persona of the matching answers and its opposite.
          tokens: neutral text, int32 [n, length] from ``windows``; None skips perplexity.
          stage: progress, and checkpoints of every case's scores and perplexity.
          protocol: sets the scorings.
          base_scores: the base model's scores by prompt, from an earlier evaluation on the same pairs. Those of other prompts are
            computed where they are needed.
          seed: of the bootstrap of changes in likelihood.
        """
        self.model, self.held_out, self.personas, self.tokens, self.stage = model, held_out, personas, tokens, stage
        self.protocol, self.base_scores, self.seed = protocol, dict(base_scores or {}), seed
        self.rows: list[dict[str, Any]] = []
        self.choices: dict[tuple[str, str, Scoring], Choices] = {}
        self.not_finite: dict[str, str] = {}

    def add(self, name: str, params: Params | MakeParams, prompts: Sequence[str] | None = None) -> None:
        """Adds the rows of case ``name`` with parameters ``params``, under the named prompts (default: all)."""
        make = made_by(params)
        damage = None if self.tokens is None else self.perplexity_of(name, make, self.tokens)
        if damage is not None and np.isnan(damage):
            self.not_finite[name] = "on the neutral text"
        for prompt in self.held_out.tokenized if prompts is None else prompts:
            scores = self._scores(name, make, prompt)
            if name == BASE:
                self.base_scores[prompt] = scores
            if (broken := scores.first_not_finite()) is not None:
                self.not_finite.setdefault(name, f"in answers of pair {broken + 1} or its neighbours, prompt {prompt}")
            chosen: dict[Scoring, Choices] = {scoring: self._choose(scores, scoring) for scoring in self.protocol.choice_scoring}
            if prompt in self.held_out.letters:
                chosen["letter"] = self._letters(name, make, prompt)
            common = {"perplexity": finite(damage), "answer_nll": finite(scores.nll())}
            reference = self._reference(name, prompt)
            numbers = [{**common, **likelihood_row(reference, scores, own, self.seed)} for own in (0, 1)]
            for scoring, choices in chosen.items():
                self._add_rows(name, prompt, scoring, choices, numbers)

    def perplexity_of(self, name: str, make: MakeParams, tokens: np.ndarray) -> float:
        """Returns the perplexity of case ``name`` on the neutral text, from its checkpoint if there is one."""
        stage = self.stage.part(f"{name}, perplexity")
        return float(stage.once(lambda: {"value": perplexity(self.model, make(), tokens, stage)})["value"])

    def _scores(self, name: str, make: MakeParams, prompt: str) -> AnswerScores:
        with_prompts = "prompt_mean" in self.protocol.choice_scoring
        return self._scored(f"{name}, prompt {prompt}", make, self.held_out.tokenized[prompt], with_prompts)

    def _scored(self, name: str, make: MakeParams, pairs: Sequence[TokenizedPair], with_prompts: bool = False) -> AnswerScores:
        """Returns the scores of pairs, from the checkpoint of stage ``name`` if there is one."""
        stage = self.stage.part(name)
        return AnswerScores(**stage.once(lambda: vars(score_answers(self.model, make(), pairs, stage, with_prompts))))

    def _reference(self, name: str, prompt: str) -> AnswerScores | None:
        """Returns the base model's scores that a case's are compared with; None for the base model without a prompt."""
        if name == prompt == BASE:
            return None
        under = BASE if name == BASE else prompt
        if under not in self.base_scores:
            self.base_scores[under] = self._scores(BASE, made_by(self.model.params), under)
        return self.base_scores[under]

    def _choose(self, scores: AnswerScores, scoring: Scoring) -> Choices:
        choices = choose(scores, self.held_out.lengths, scoring)
        if self.protocol.split_choice_ties:
            return choices
        return settle_ties(choices, self.held_out.pairs, "B" if scoring == "prompt_mean" else "A")

    def _letters(self, name: str, make: MakeParams, prompt: str) -> Choices:
        as_a, as_b = self.held_out.letters[prompt]
        scores = self._scored(f"{name}, prompt {prompt}, letters", make, as_a + as_b)
        return choose_letters((scores[: len(as_a)], scores[len(as_a) :]), self.held_out.listed)

    def add_choices(self, name: str, choices: Choices, scoring: Scoring = "sum") -> None:
        """Adds the rows of a chooser that is not a model."""
        unknown = dict.fromkeys(("perplexity", "answer_nll", *LIKELIHOOD_KEYS))
        self._add_rows(name, "none", scoring, choices, (unknown, unknown))

    def _add_rows(self, mask: str, prompt: str, scoring: Scoring, choices: Choices, numbers: Sequence[Mapping[str, Any]]) -> None:
        """Adds a row per persona; ``numbers`` has each persona's further values."""
        self.choices[mask, prompt, scoring] = choices
        for persona, own, further in zip(self.personas, (choices, choices.against()), numbers, strict=True):
            key = {"mask": mask, "prompt": prompt, "scoring": scoring, "persona": persona}
            self.rows.append({**key, **choice_row(own), **further})

    def separation(self, first: str, second: str, seed: int = 42) -> list[dict[str, Any]]:
        """Returns the separation of cases ``first`` and ``second``, one row per prompt and scoring (see ``separation_row``)."""
        rows = []
        for mask, prompt, scoring in self.choices:
            if mask == first:
                pair = self.choices[first, prompt, scoring], self.choices[second, prompt, scoring]
                rows.append({"masks": [first, second], "prompt": prompt, "scoring": scoring, **separation_row(*pair, seed)})
        return rows

    def separations(self, seed: int = 42) -> list[dict[str, Any]]:
        """Returns the separations of all cases that have an opposite."""
        cases = dict.fromkeys(mask for mask, _, _ in self.choices)
        return [row for pair in opposites(cases, self.personas) for row in self.separation(*pair, seed)]


def opposites(cases: Iterable[str], personas: tuple[str, str]) -> list[tuple[str, str]]:
    """Returns the pairs of cases that differ only in the persona: the personas' own masks, and cases named "NAME PERSONA".

    >>> opposites(["none", "seek", "reject", "random seek", "sft seek", "sft reject"], ("seek", "reject"))
    [('seek', 'reject'), ('sft seek', 'sft reject')]
    """
    cases, (first, second) = list(cases), personas
    kinds = [case.removesuffix(first) for case in cases if case == first or case.endswith(f" {first}")]
    return [(kind + first, kind + second) for kind in kinds if kind + second in cases]
