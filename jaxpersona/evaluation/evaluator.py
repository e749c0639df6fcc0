"""Evaluates parameters on held-out pairs: a row for every case, prompt, scoring and persona, and the separation of two cases."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, tokenize_pair
from jaxpersona.evaluation.answers import AnswerScores, score_answers
from jaxpersona.evaluation.choices import Choices, Scoring, answer_bytes, choice_row, choose, finite, separation_row, settle_ties
from jaxpersona.evaluation.letters import choose_letters, letter_only, lettered
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import perplexity

Ask = Callable[[Pair], Pair]
"""A way to ask: the pair with something put before its question."""


def with_system(text: str) -> Ask:
    """Asks behind a system text."""
    return functools.partial(dataclasses.replace, system=text)


@dataclasses.dataclass(frozen=True)
class Held:
    """Held-out pairs, tokenized under every prompt.

    Attributes:
      pairs: the pairs.
      tokenized: their tokens by prompt name; ``none`` is without any.
      letters: likewise, asked for a letter, with the persona's answer as A and then as B; empty if letters are not asked for.
      lengths: bytes of the answers, int [pairs, 2].
    """

    pairs: Pairs
    tokenized: dict[str, list[TokenizedPair]]
    letters: dict[str, tuple[list[TokenizedPair], list[TokenizedPair]]]
    lengths: np.ndarray


def hold(
    model: Model, pairs: Pairs, prompts: Mapping[str, Ask], text: TextMode = "chat", max_length: int = 512, letters: bool = True
) -> Held:
    """Tokenizes held-out pairs without a prompt and with each of ``prompts``, and for ``letters`` as lettered questions.

    ``max_length`` holds for the bare pairs; prompts and options have the rest of the model's positions.

    Raises:
      InputError: when the two answers of a pair are the same to the model, or are cut away, or ``max_length`` exceeds the
        model's positions.
    """
    room = model.config.max_positions
    if max_length > room:
        raise InputError(f"data.max_length is {max_length}, the model has {room} positions; lower it")
    asked = {name: dataclasses.replace(pairs, items=tuple(map(ask, pairs))) for name, ask in prompts.items()}
    tokenized = {"none": _tokenize(model, pairs, text, max_length, "data.max_length")}
    tokenized |= {name: _tokenize(model, some, text, room, "the model's positions") for name, some in asked.items()}
    orders = {}
    for name, some in ({"none": pairs, **asked} if letters else {}).items():
        orders[name] = (_letters(model, some, text, True), _letters(model, some, text, False))
    return Held(pairs, tokenized, orders, answer_bytes(pairs))


def _letters(model: Model, pairs: Pairs, text: TextMode, matching_is_a: bool) -> list[TokenizedPair]:
    """Without the question there would be no options: ``response`` is read as ``prompt_response``."""
    listed = dataclasses.replace(pairs, items=tuple(lettered(pair, matching_is_a) for pair in pairs))
    mode = "prompt_response" if text == "response" else text
    limit = "the model's positions once both are listed as options (--letters false leaves that out)"
    return [letter_only(pair) for pair in _tokenize(model, listed, mode, model.config.max_positions, limit)]


def _tokenize(model: Model, pairs: Pairs, text: TextMode, max_length: int, limit: str) -> list[TokenizedPair]:
    tokenized = [tokenize_pair(model.tokenizer, pair, text, max_length) for pair in pairs]
    for number, pair in enumerate(tokenized, start=1):
        if not (pair.matching and pair.not_matching):
            raise InputError(f"{pairs.source}: pair {number} cannot be scored; its answers are equal or cut by {limit}")
    return tokenized


class Evaluator:
    """Scores one set of parameters after another on the same items, and keeps what was chosen for the paired tests.

    Whatever makes parameters is evaluated alike: a mask folded in, a fine-tuned model, a steering vector in biases.
    """

    def __init__(
        self,
        model: Model,
        held: Held,
        personas: tuple[str, str],
        tokens: np.ndarray | None,
        stage: Stage = QUIET,
        protocol: Protocol = STRICT,
    ):
        """Evaluates ``model`` on ``held``; ``tokens`` (from ``windows``) measure perplexity, None skips it."""
        self.model, self.held, self.personas, self.tokens, self.stage = model, held, personas, tokens, stage
        self.protocol = protocol
        self.rows: list[dict[str, Any]] = []
        self.choices: dict[tuple[str, str, Scoring], Choices] = {}

    def add(self, name: str, params: Params, prompts: Sequence[str] | None = None) -> None:
        """Adds the rows of the model with these parameters, under the named prompts, or all of them."""
        damage = None if self.tokens is None else perplexity(self.model, params, self.tokens)
        for prompt in self.held.tokenized if prompts is None else prompts:
            stage = self.stage.part(f"{name}, prompt {prompt}")
            with_prompts = "prompt_mean" in self.protocol.choice_scoring
            scores = score_answers(self.model, params, self.held.tokenized[prompt], stage, with_prompts)
            found: dict[Scoring, Choices] = {scoring: self._choose(scores, scoring) for scoring in self.protocol.choice_scoring}
            if prompt in self.held.letters:
                found["letter"] = self._letters(name, params, prompt)
            for scoring, choices in found.items():
                self._add_rows(name, prompt, scoring, choices, {"perplexity": finite(damage), "answer_nll": finite(scores.nll())})

    def _choose(self, scores: AnswerScores, scoring: Scoring) -> Choices:
        choices = choose(scores, self.held.lengths, scoring)
        if self.protocol.split_choice_ties:
            return choices
        return settle_ties(choices, self.held.pairs, "B" if scoring == "prompt_mean" else "A")

    def _letters(self, name: str, params: Params, prompt: str) -> Choices:
        stage = self.stage.part(f"{name}, prompt {prompt}, letters")
        as_a, as_b = self.held.letters[prompt]
        scores = score_answers(self.model, params, as_a + as_b, stage)
        return choose_letters((scores[: len(as_a)], scores[len(as_a) :]))

    def add_choices(self, name: str, choices: Choices, scoring: Scoring = "sum") -> None:
        """Adds the rows of a chooser that is no model."""
        self._add_rows(name, "none", scoring, choices, {"perplexity": None, "answer_nll": None})

    def _add_rows(self, mask: str, prompt: str, scoring: Scoring, choices: Choices, damage: dict[str, Any]) -> None:
        self.choices[mask, prompt, scoring] = choices
        for persona, seen in zip(self.personas, (choices, choices.against()), strict=True):
            place = {"mask": mask, "prompt": prompt, "scoring": scoring, "persona": persona}
            self.rows.append({**place, **choice_row(seen), **damage})

    def separation(self, first: str, second: str, seed: int = 42) -> list[dict[str, Any]]:
        """Accuracy on the first persona under mask ``first`` minus under mask ``second``, by prompt and scoring."""
        rows = []
        for mask, prompt, scoring in self.choices:
            if mask == first:
                pair = self.choices[first, prompt, scoring], self.choices[second, prompt, scoring]
                rows.append({"masks": [first, second], "prompt": prompt, "scoring": scoring, **separation_row(*pair, seed)})
        return rows

    def separations(self, seed: int = 42) -> list[dict[str, Any]]:
        """Separations of all cases that have an opposite."""
        cases = dict.fromkeys(mask for mask, _, _ in self.choices)
        return [row for pair in opposites(cases, self.personas) for row in self.separation(*pair, seed)]


def opposites(cases: Iterable[str], personas: tuple[str, str]) -> list[tuple[str, str]]:
    """The pairs of cases that differ in the persona: the personas' own, and those called "NAME PERSONA".

    >>> opposites(["none", "seek", "reject", "random seek", "sft seek", "sft reject"], ("seek", "reject"))
    [('seek', 'reject'), ('sft seek', 'sft reject')]
    """
    cases, (first, second) = list(cases), personas
    kinds = [case.removesuffix(first) for case in cases if case == first or case.endswith(f" {first}")]
    return [(kind + first, kind + second) for kind in kinds if kind + second in cases]
