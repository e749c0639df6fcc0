"""Evaluates parameters on held-out pairs: a row for every case, prompt, scoring and persona, and the separation of two cases."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, tokenize_pair
from jaxpersona.errors import InputError
from jaxpersona.evaluation.choices import SCORINGS, Choices, Scoring, answer_bytes, choice_row, choose, separation_row
from jaxpersona.language_modelling import perplexity
from jaxpersona.models.model import Model
from jaxpersona.models.weights import Params
from jaxpersona.progress import Report, silent
from jaxpersona.scoring import score_answers


@dataclasses.dataclass(frozen=True)
class Held:
    """Held-out pairs, tokenized under every prompt.

    Attributes:
      pairs: the pairs.
      tokenized: their tokens by prompt name; ``none`` is without any.
      lengths: bytes of the answers, int [pairs, 2].
    """

    pairs: Pairs
    tokenized: dict[str, list[TokenizedPair]]
    lengths: np.ndarray


def hold(model: Model, pairs: Pairs, prompts: Mapping[str, str], text: TextMode = "chat", max_length: int = 512) -> Held:
    """Tokenizes held-out pairs without a prompt and with each of ``prompts`` (system texts by name).

    Raises:
      InputError: when the two answers of a pair are the same to the model, or are cut away, or ``max_length`` exceeds the
        model's positions.
    """
    if max_length > model.config.max_positions:
        raise InputError(f"data.max_length is {max_length}, the model has {model.config.max_positions} positions; lower it")
    tokenized = {}
    for name, system in {"none": None, **prompts}.items():
        asked = [pair if system is None else dataclasses.replace(pair, system=system) for pair in pairs]
        tokenized[name] = [tokenize_pair(model.tokenizer, pair, text, max_length) for pair in asked]
        for number, pair in enumerate(tokenized[name], start=1):
            if not (pair.matching and pair.not_matching):
                why = "its answers are equal or cut by data.max_length"
                raise InputError(f"{pairs.source}: pair {number} cannot be scored; {why}")
    return Held(pairs, tokenized, answer_bytes(pairs))


class Evaluator:
    """Scores one set of parameters after another on the same items, and keeps what was chosen for the paired tests.

    Whatever makes parameters is evaluated alike: a mask folded in, a fine-tuned model, a steering vector in biases.
    """

    def __init__(self, model: Model, held: Held, personas: tuple[str, str], tokens: np.ndarray | None, report: Report = silent):
        """Evaluates ``model`` on ``held``; ``tokens`` (from ``windows``) measure perplexity, None skips it."""
        self.model, self.held, self.personas, self.tokens, self.report = model, held, personas, tokens, report
        self.rows: list[dict[str, Any]] = []
        self.choices: dict[tuple[str, str, Scoring], Choices] = {}

    def add(self, name: str, params: Params, prompts: bool = True) -> None:
        """Adds the rows of the model with these parameters, under every prompt or without one only."""
        damage = None if self.tokens is None else perplexity(self.model, params, self.tokens)
        names = list(self.held.tokenized) if prompts else ["none"]
        for prompt in names:
            progress = functools.partial(self.report, f"{name}, prompt {prompt}")
            scores = score_answers(self.model, params, self.held.tokenized[prompt], progress)
            for scoring in SCORINGS:
                found = choose(scores, self.held.lengths, scoring)
                self._add_rows(name, prompt, scoring, found, {"perplexity": damage, "answer_nll": scores.nll()})

    def add_choices(self, name: str, choices: Choices) -> None:
        """Adds the rows of a chooser that is no model."""
        self._add_rows(name, "none", "sum", choices, {"perplexity": None, "answer_nll": None})

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
        """All separations: of the two personas' masks, and of every other pair of cases called "NAME PERSONA"."""
        cases = dict.fromkeys(mask for mask, _, _ in self.choices)
        first, second = self.personas
        kinds = ["", *(case.removesuffix(first) for case in cases if case.endswith(f" {first}"))]
        return [row for kind in kinds if kind + second in cases for row in self.separation(kind + first, kind + second, seed)]
