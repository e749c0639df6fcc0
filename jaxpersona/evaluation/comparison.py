"""Two personas' masks beside the bare model, persona prompts and controls; the library side of ``evaluate``."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode
from jaxpersona.evaluation.controls import Calibration, control_masks, length_choosers
from jaxpersona.evaluation.evaluator import Evaluator, hold
from jaxpersona.language_modelling import BUILTIN_TEXT, read_text, windows
from jaxpersona.masks import Masks, apply_mask
from jaxpersona.models.model import Model
from jaxpersona.models.weights import Params
from jaxpersona.progress import Report, silent


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      rows: one for every case (a mask, ``none``, a control), prompt, scoring and persona; see ``Evaluator``.
      separation: for each pair of cases that differ in the persona, by prompt and scoring; see ``separation_row``.
    """

    rows: list[dict[str, Any]]
    separation: list[dict[str, Any]]


def evaluate(
    model: Model,
    masks: Mapping[str, Masks],
    pairs: Pairs,
    *,
    prompts: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    text: TextMode = "chat",
    max_length: int = 512,
    neutral: str | None = None,
    neutral_tokens: int = 2048,
    seed: int = 42,
    report: Report = silent,
) -> Evaluation:
    """Evaluates two personas' masks on held-out pairs.

    Args:
      model: from ``load_model``.
      masks: by persona; the persona of the matching answers comes first.
      pairs: held-out pairs, from ``load_pairs``.
      prompts: system texts by name, under each of which the model and its masks are evaluated as well.
      calibration: how the masks were found; given, controls are found and evaluated too.
      text: what the model reads (see ``data/text.py``).
      max_length: texts are cut at this many tokens.
      neutral: text on which perplexity is measured; default ``builtin:neutral``.
      neutral_tokens: how much of it is read; 0 skips perplexity.
      seed: of random controls and the bootstrap.
      report: called with (stage, steps done, steps in all).

    Raises:
      InputError: when a pair cannot be scored, or texts do not fit the model.
    """
    first, second = masks
    neutral = read_text(BUILTIN_TEXT) if neutral is None else neutral
    tokens = windows(model, neutral, neutral_tokens) if neutral_tokens else None
    held = hold(model, pairs, prompts or {}, text, max_length)
    evaluator = Evaluator(model, held, (first, second), tokens, report)
    for name, params in _personas(model, masks):
        evaluator.add(name, params)
    if calibration is not None:
        for name, mask in control_masks(model, masks, calibration, seed, report):
            evaluator.add(name, apply_mask(model.params, mask), prompts=False)
        for name, choices in length_choosers(held.lengths).items():
            evaluator.add_choices(name, choices)
    return Evaluation(evaluator.rows, evaluator.separations(seed))


def _personas(model: Model, masks: Mapping[str, Masks]) -> Iterator[tuple[str, Params]]:
    """The model as it is and under each mask, one set of parameters at a time."""
    yield "none", model.params
    for persona, mask in masks.items():
        yield persona, apply_mask(model.params, mask)
