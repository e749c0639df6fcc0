"""Personas' masks beside the bare model, persona prompts, controls and baselines; the library side of ``evaluate``."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.lines import Lines
from jaxpersona.data.neutral_text import BUILTIN_TEXT, read_text
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode
from jaxpersona.evaluation.baselines.registry import RAG, baseline_params, check_baselines
from jaxpersona.evaluation.baselines.retrieval import retriever
from jaxpersona.evaluation.choices import Choices, Scoring
from jaxpersona.evaluation.controls import always_a, control_masks, length_choosers
from jaxpersona.evaluation.evaluator import Ask, Evaluator, hold, with_system
from jaxpersona.evaluation.judge import train_judge
from jaxpersona.evaluation.open_ended import OpenEnded
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.masks.masks import apply_mask
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import windows
from jaxpersona.models.persona import Persona


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      rows: one for every case (a mask, ``none``, a control, a baseline), prompt, scoring and persona; see ``Evaluator``.
      separation: for each pair of cases that differ in the persona, by prompt and scoring; see ``separation_row``.
      open_ended: ``OpenEnded.record``, or None where no open answers were asked for.
      answers: the open answers themselves.
      choices: what was chosen on every item, by case, prompt and scoring; for paired tests of other couples.
    """

    rows: list[dict[str, Any]]
    separation: list[dict[str, Any]]
    open_ended: dict[str, Any] | None
    answers: list[dict[str, Any]]
    choices: dict[tuple[str, str, Scoring], Choices]


def evaluate(
    model: Model,
    masks: Mapping[str, Persona],
    pairs: Pairs,
    *,
    personas: tuple[str, str] | None = None,
    bare: bool = True,
    prompts: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
    controls: bool = False,
    baselines: Sequence[str] = (),
    rag_k: int = 3,
    letters: bool = True,
    open_ended: int = 0,
    max_new_tokens: int = 64,
    text: TextMode = "chat",
    max_length: int = 512,
    neutral: str | None = None,
    neutral_tokens: int = 2048,
    protocol: Protocol = STRICT,
    seed: int = 42,
    stage: Stage = QUIET,
) -> Evaluation:
    """Evaluates personas' masks on held-out pairs.

    Args:
      model: from ``load_model``.
      masks: by persona.
      pairs: held-out pairs, from ``load_pairs``.
      personas: of the matching answers, and its opposite; default the names of the two masks, in their order.
      bare: also the model without a mask, as ``none``; one who evaluates many masks on the same pairs needs it once.
      prompts: system texts by name, under each of which the model and its masks are evaluated as well.
      recipe: how the masks were found; shuffled labels, baselines and open answers need it.
      controls: also masks of the same budget that know nothing of the persona, and choosing by length or letter.
      baselines: ``rag`` (samples retrieved into the context) and names from ``BASELINES``.
      rag_k: how many samples are retrieved.
      letters: also ask for a letter, in both orders of the options.
      open_ended: number of held-out questions to be answered in the model's own words.
      max_new_tokens: at most this many tokens an answer.
      text: what the model reads (see ``data/text.py``).
      max_length: texts are cut at this many tokens.
      neutral: text on which perplexity is measured; default ``builtin:neutral``.
      neutral_tokens: how much of it is read; 0 skips perplexity.
      protocol: how choices are scored, and whether masks are also evaluated without a prompt.
      seed: of random controls, the bootstrap, baselines, and the draw of questions.
      stage: progress.

    Raises:
      InputError: when a pair cannot be scored, texts do not fit the model, a baseline is unknown, or something needs a recipe
        or prompts.
    """
    check_baselines(baselines)
    if protocol.persona_prompt_in_evaluation and not prompts:
        raise InputError(f"protocol {protocol.name} evaluates masks behind a persona prompt; give two as prompts")
    first, second = personas or masks
    neutral = read_text(BUILTIN_TEXT) if neutral is None else neutral
    tokens = windows(model, neutral, neutral_tokens) if neutral_tokens else None
    system = {name: with_system(prompt) for name, prompt in (prompts or {}).items()}
    retrieved = _retrievers(_needed(recipe, "baselines"), rag_k) if RAG in baselines else {}
    held = hold(model, pairs, {**system, **retrieved}, text, max_length, letters)
    evaluator = Evaluator(model, held, (first, second), tokens, stage, protocol)
    talk = None
    if open_ended:
        judge = train_judge(_needed(recipe, "open_ended").pairs, pairs)
        talk = OpenEnded(model, pairs.sample(open_ended, seed), judge, (first, second), text, max_new_tokens, stage)
    alone = [] if protocol.persona_prompt_in_evaluation else ["none"]
    asked = {"none": None} | {persona: [*alone, *system] for persona in masks}
    for name, params in _cases(model, masks, bare, baselines, recipe, seed, stage):
        evaluator.add(name, params, asked.get(name, ["none"]))
        if talk is not None:
            talk.add(name, params)
    if controls:
        _add_controls(evaluator, masks, neutral, recipe, seed)
    spoken = (None, []) if talk is None else (talk.record(seed), talk.answers)
    return Evaluation(evaluator.rows, evaluator.separations(seed), *spoken, evaluator.choices)


def _needed(recipe: Recipe | None, for_what: str) -> Recipe:
    if recipe is None:
        raise InputError(f"{for_what}: the calibration pairs are needed, which only a run knows; evaluate with --run")
    if isinstance(recipe.pairs, Lines):
        raise InputError(f"{for_what}: pairs are needed; {recipe.pairs.source} holds single texts")
    return recipe


def _retrievers(recipe: Recipe, k: int) -> dict[str, Ask]:
    samples = (recipe.pairs, [pair.swapped() for pair in recipe.pairs])
    return {f"{RAG} {persona}": retriever(mine, k) for persona, mine in zip(recipe.personas, samples, strict=True)}


def _cases(
    model: Model,
    masks: Mapping[str, Persona],
    bare: bool,
    baselines: Sequence[str],
    recipe: Recipe | None,
    seed: int,
    stage: Stage,
) -> Iterator[tuple[str, Params]]:
    """The model as it is, under each mask and under each baseline, one set of parameters at a time."""
    if bare:
        yield "none", model.params
    for persona, mask in masks.items():
        yield persona, apply_mask(model.params, mask)
    if baselines:
        yield from baseline_params(model, baselines, _needed(recipe, "baselines"), seed, stage)


def _add_controls(evaluator: Evaluator, masks: Mapping[str, Persona], neutral: str, recipe: Recipe | None, seed: int) -> None:
    model, held = evaluator.model, evaluator.held
    for name, mask in control_masks(model, masks, neutral, seed, recipe, evaluator.stage):
        evaluator.add(name, apply_mask(model.params, mask), ["none"])
    for name, choices in length_choosers(held.lengths).items():
        evaluator.add_choices(name, choices)
    over_orders, in_file = always_a(held.pairs)
    if held.letters:
        evaluator.add_choices("always A", over_orders, "letter")
    if in_file is not None:
        evaluator.add_choices("A in the file", in_file)
