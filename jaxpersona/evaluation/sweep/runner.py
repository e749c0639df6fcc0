"""Runs the cells of a sweep: finds masks from shared calibration data and evaluates them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from jaxpersona.calibration.calibrate import Calibration, calibrate
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import Protocol
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.timing import timed
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode
from jaxpersona.discovery.pipeline import find_masks
from jaxpersona.evaluation.answers import AnswerScores
from jaxpersona.evaluation.baselines.retrieval import RAG
from jaxpersona.evaluation.choices import answer_bytes
from jaxpersona.evaluation.comparison import Evaluation, evaluate
from jaxpersona.evaluation.controls import always_a, control_masks, length_choosers, shuffled
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.evaluation.sweep.grid import Cell
from jaxpersona.evaluation.sweep.rows import chooser_row, rows_of
from jaxpersona.masks.weight_update import masks_of
from jaxpersona.methods.price_search import PERPLEXITY_INCREASE, Reached
from jaxpersona.methods.wanda import Wanda
from jaxpersona.models.model import Model


@dataclasses.dataclass(frozen=True, eq=False)
class CellRunner:
    """Runs cells on one model and data set; holds the inputs and settings that all cells share.

    Attributes:
      model: from ``load_model``.
      pairs: the pairs that calibration pairs are drawn from.
      held_out: pairs to evaluate on.
      personas: the persona of the matching answers and its opposite.
      text: which parts of a calibration pair the model sees (see ``data/text.py``).
      max_length: maximum tokens of a calibration text.
      neutral: text on which perplexity is measured.
      evaluation: further options of ``evaluate``: text, max_length, neutral_tokens, letters, rag_k, baseline_damage.
      protocol: the experimental choices of calibration and evaluation.
      prompts: system texts by persona; may be empty.
      prompted_masks: also evaluates masks under these prompts.
      reuse_factors: as for ``calibrate``.
      stage: progress.
      base_scores: the base model's scores by prompt, which all cells are compared with. A resumed sweep computes them anew.
    """

    model: Model
    pairs: Pairs
    held_out: Pairs
    personas: tuple[str, str]
    text: TextMode
    max_length: int
    neutral: str
    evaluation: Mapping[str, Any]
    protocol: Protocol
    prompts: Mapping[str, str]
    prompted_masks: bool = False
    reuse_factors: bool = False
    stage: Stage = QUIET
    base_scores: dict[str, AnswerScores] = dataclasses.field(default_factory=dict)

    def run(self, cell: Cell) -> dict[str, Any]:
        """Runs a cell.

        Returns:
          The cell's identity, ``seconds`` by step, ``skipped`` (the reason, or None) and ``rows`` (``rows.py``).

        Raises:
          InputError: from the base cell, whose errors would affect all others. Other cells are skipped instead.
        """
        seconds: dict[str, float] = {}
        run = {"base": self._base, "method": self._method, "shuffled": self._method, "baseline": self._baseline}[cell.kind]
        try:
            rows, reason = run(cell, seconds), None
        except InputError as error:
            if cell.kind == "base":
                raise
            rows, reason = [], str(error)
        return {**cell.identity(), "seconds": seconds, "skipped": reason, "rows": rows}

    def _base(self, cell: Cell, seconds: dict[str, float]) -> list[dict[str, Any]]:
        self.calibration(cell.num_samples, cell.seed)  # raises now if the pairs are unusable
        place = {"kind": "base", "seed": cell.seed}
        with timed(seconds, "evaluate"):
            rows = rows_of(self._evaluate({}, cell, prompts=self.prompts), self.personas, place, {}, {})
        for row in rows:
            row["kind"] = "baseline" if row["method"] == "prompt" else "base"
        if cell.controls:
            both_orders, in_file = always_a(self.held_out)
            choosers = {**length_choosers(answer_bytes(self.held_out)), "always A": both_orders}
            choosers |= {} if in_file is None else {"A in the file": in_file}
            rows += [chooser_row(name, choices, self.personas, place) for name, choices in choosers.items()]
        return rows

    def _method(self, cell: Cell, seconds: dict[str, float]) -> list[dict[str, Any]]:
        blind = cell.kind == "shuffled"
        calibration = self.calibration(cell.num_samples, cell.seed, blind)
        options = {"personas": self.personas, "seed": cell.seed, "stage": self.stage}
        with timed(seconds, "calibrate"):
            cell.method.collect(calibration)
        with timed(seconds, "mask"):
            reached: dict[str, Reached] = {}
            masks = find_masks(self.model, cell.method, calibration, **options, reached=reached)
        named = {persona: f"shuffled {persona}" if blind else persona for persona in masks}
        cases = {named[persona]: mask for persona, mask in masks.items()}
        increase = {named[persona]: found.value for persona, found in reached.items() if found.kind == PERPLEXITY_INCREASE}
        place = {"kind": "control", "of": cell.label} if blind else {"kind": "method"}
        prompts = self.prompts if self.prompted_masks and not blind else {}
        with timed(seconds, "evaluate"):
            rows = self._rows(cell, place, cases, {"": cell.label}, prompts, increase)
        if cell.controls:
            with timed(seconds, "controls"):
                controls = dict(control_masks(self.model, masks, self.neutral, cell.seed))
                rows += self._rows(cell, {"kind": "control", "of": cell.label}, controls, {}, {})
        return rows

    def _rows(
        self,
        cell: Cell,
        place: dict[str, Any],
        masks: Mapping[str, Any],
        names: Mapping[str, str],
        prompts: Mapping[str, str],
        increase: Mapping[str, float] | None = None,
    ) -> list[dict[str, Any]]:
        """Evaluates masks, keyed by case name, and returns their rows."""
        place = {**place, "budget": cell.budget, "num_samples": cell.num_samples, "seed": cell.seed}
        kept = {name: mask.kept() for name, persona in masks.items() if (mask := masks_of(persona)) is not None}
        evaluation = self._evaluate(masks, cell, base=False, prompts=prompts)
        return rows_of(evaluation, self.personas, place, names, kept, increase)

    def _baseline(self, cell: Cell, seconds: dict[str, float]) -> list[dict[str, Any]]:
        pairs = self.pairs.sample(cell.num_samples, cell.seed)
        unused = Wanda()  # a recipe needs a method, but baselines do not use it
        recipe = Recipe(pairs, self.personas, unused, self.text, self.max_length, self.protocol)
        with timed(seconds, "evaluate"):  # rag prompts the base model
            evaluation = self._evaluate({}, cell, base=cell.name == RAG, baselines=[cell.name], recipe=recipe)
        place = {"kind": "baseline", "num_samples": cell.num_samples, "seed": cell.seed}
        damage = self.evaluation.get("baseline_damage")
        if damage is not None and cell.name != RAG:
            place["budget"] = f"max_perplexity_increase={damage}"
        return [row for row in rows_of(evaluation, self.personas, place, {}, {}) if row["method"] == cell.name]

    def _evaluate(self, masks: Mapping[str, Any], cell: Cell, **options: Any) -> Evaluation:
        common: dict[str, Any] = {"personas": self.personas, "neutral": self.neutral, "seed": cell.seed, "stage": self.stage}
        common |= {"protocol": self.protocol, "base_scores": self.base_scores}
        evaluation = evaluate(self.model, masks, self.held_out, **common, **self.evaluation, **options)
        shared = ("none", *self.prompts)  # unlike those of rag, whose samples are of one cell
        self.base_scores.update({name: scores for name, scores in evaluation.base_scores.items() if name in shared})
        return evaluation

    @functools.lru_cache(maxsize=1)  # noqa: B019, a runner lives as long as its sweep; maxsize 1 because gradients are large
    def calibration(self, num_samples: int, seed: int, blind: bool = False) -> Calibration:
        """Returns the calibration data that all methods of a size and seed share; ``blind`` shuffles the labels."""
        sample = self.pairs.sample(num_samples, seed)
        pairs = shuffled(sample, seed) if blind else sample
        options: dict[str, Any] = {"num_samples": num_samples, "text": self.text, "max_length": self.max_length, "seed": seed}
        options |= {"protocol": self.protocol, "reuse_factors": self.reuse_factors}
        return calibrate(self.model, pairs, **options, stage=self.stage)
