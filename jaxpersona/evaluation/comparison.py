"""Evaluates masks against the base model, persona prompts, controls and baselines: the library side of ``evaluate``."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.finite import OVERFLOW
from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.lines import Lines
from jaxpersona.data.neutral_text import BUILTIN_TEXT, read_text
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode
from jaxpersona.evaluation.answers import AnswerScores
from jaxpersona.evaluation.baselines.registry import baseline_params, check_baselines
from jaxpersona.evaluation.baselines.retrieval import RAG, retrievers
from jaxpersona.evaluation.choices import Choices, Scoring
from jaxpersona.evaluation.controls import CONTROLS, SHUFFLED, always_a, check_controls, control_masks, length_choosers
from jaxpersona.evaluation.evaluator import BASE, Evaluator, HeldOut, MakeParams, made_by, prepare_held_out
from jaxpersona.evaluation.open_answers.tfidf import train_judge
from jaxpersona.evaluation.open_ended import OpenEnded
from jaxpersona.evaluation.prompts import AddPrompt, Prompts, usable_prompts
from jaxpersona.evaluation.recipe import Recipe, needed
from jaxpersona.masks.masks import apply_mask
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import windows
from jaxpersona.models.persona import Persona

Damage = float | Literal["masks"] | None
_LEAST_DAMAGE = 0.001  # a change that may do no damage at all has no scale


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation. A case is a mask, ``none`` (the base model), a control or a baseline.

    Attributes:
      rows: one per case, prompt, scoring and persona; see ``Evaluator``.
      separation: one row per pair of opposite cases, prompt and scoring; see ``separation_row``.
      open_ended: ``OpenEnded.record``; None if no open answers were requested.
      answers: the open answers, one row each.
      choices: the choice on every item, by case, prompt and scoring, for paired tests between other cases.
      base_scores: the base model's scores by prompt, for a later evaluation on the same pairs.
      left_out: what was asked for but left out, and why; None if nothing was.
    """

    rows: list[dict[str, Any]]
    separation: list[dict[str, Any]]
    open_ended: dict[str, Any] | None
    answers: list[dict[str, Any]]
    choices: dict[tuple[str, str, Scoring], Choices]
    base_scores: dict[str, AnswerScores]
    left_out: str | None = None


def evaluate(
    model: Model,
    masks: Mapping[str, Persona],
    pairs: Pairs,
    *,
    personas: tuple[str, str] | None = None,
    base: bool = True,
    base_scores: Mapping[str, AnswerScores] | None = None,
    prompts: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
    controls: bool | Collection[str] = False,
    baselines: Sequence[str] = (),
    baseline_damage: Damage = None,
    rag_k: int = 3,
    letters: bool = True,
    open_ended: int = 0,
    open_samples: int = 0,
    max_new_tokens: int = 64,
    judge_pairs: Pairs | None = None,
    panel: bool = True,
    text: TextMode = "chat",
    max_length: int = 512,
    neutral: str | None = None,
    neutral_tokens: int = 2048,
    protocol: Protocol = STRICT,
    seed: int = 42,
    stage: Stage = QUIET,
) -> Evaluation:
    """Evaluates persona masks on held-out pairs.

    Args:
      model: from ``load_model``.
      masks: by persona name.
      pairs: held-out pairs, from ``load_pairs``.
      personas: the persona of the matching answers and its opposite; defaults to the names of the two masks, in order.
      base: also evaluates the base model, as case ``none``. Pass False when it was evaluated on the same pairs before.
      base_scores: ``Evaluation.base_scores`` of an earlier evaluation on the same pairs; saves scoring the base model again.
      prompts: system texts by name; the base model and the masks are also evaluated under each, unless the model's chat
        template refuses system texts.
      recipe: how the masks were found; needed for shuffled labels, baselines, and open answers without ``judge_pairs``.
      controls: also evaluates persona-blind masks of the same budget (True: all kinds, but ``shuffled`` only with a recipe; or
        some of ``CONTROLS``), and choosers by length or letter.
      baselines: ``rag`` (samples retrieved into the context) and names from ``BASELINES``.
      baseline_damage: relative perplexity increase on the neutral text that the baselines' changes are scaled to (0.015: 1.5 %);
        ``masks``: what the mask of the same persona costs, at least 0.1 %; None leaves them as they are.
      rag_k: number of retrieved samples.
      letters: also asks for an option letter, in both orders of the options.
      open_ended: number of held-out questions that the model answers in its own words.
      open_samples: number of further answers to each, drawn at random from the base model and the masks for the panel.
      max_new_tokens: maximum tokens per open answer.
      judge_pairs: pairs of the same persona that the judges of open answers learn from; default: the calibration pairs.
      panel: also judges open answers by trait, relevance and fluency (``open_answers/panel.py``).
      text: which parts of a pair the model sees (see ``data/text.py``).
      max_length: maximum tokens per text; longer texts are cut.
      neutral: text on which perplexity is measured; default ``builtin:neutral``.
      neutral_tokens: number of its tokens to use; 0 skips perplexity.
      protocol: sets the scorings, and whether masks are also evaluated without a prompt.
      seed: of random controls, the bootstrap, baselines, and the draw of questions.
      stage: progress, and checkpoints from which a killed evaluation resumes, case by case.

    Raises:
      InputError: if a pair cannot be scored, log-probabilities are not finite, ``base_scores`` are of other pairs, texts do not
        fit the model, a baseline is unknown, or an option needs a recipe or prompts that are missing.
    """
    kinds = _checked(controls, baselines, recipe)
    first, second = personas or masks
    _check_damage(baseline_damage, neutral_tokens, masks if set(baselines) - {RAG} else None, (first, second))
    asked = usable_prompts(model, prompts or {}, _retrievers(baselines, recipe, rag_k), text, protocol)
    neutral = read_text(BUILTIN_TEXT) if neutral is None else neutral
    tokens = windows(model, neutral, neutral_tokens) if neutral_tokens else None
    held_out = prepare_held_out(model, pairs, asked.by_name(), text, max_length, letters)
    _check_same_pairs(base_scores or {}, held_out)
    evaluator = Evaluator(model, held_out, (first, second), tokens, stage, protocol, base_scores, seed)
    train = _pairs_of_judges(judge_pairs, recipe, pairs) if open_ended else None
    generator = None
    if train is not None:
        numbers = {"questions": open_ended, "samples": open_samples, "max_new_tokens": max_new_tokens}
        generator = _generator(evaluator, train, asked, base, text, panel, **numbers)
    for case in _cases(evaluator, masks, base, baselines, recipe, baseline_damage, asked.of_masks()):
        _add(evaluator, generator, *case)
    _add_controls(evaluator, masks, neutral, recipe, kinds)
    return _result(evaluator, generator, asked.left_out)


def _checked(controls: bool | Collection[str], baselines: Sequence[str], recipe: Recipe | None) -> Collection[str]:
    """Returns the kinds of controls, after refusing what can be seen to be wrong before anything is computed."""
    check_baselines(baselines)
    if controls is True:
        return [kind for kind in CONTROLS if kind != SHUFFLED or recipe is not None]
    kinds = controls or ()
    check_controls(kinds)
    if SHUFFLED in kinds:
        needed(recipe, "the control shuffled")
    return kinds


def _check_same_pairs(base_scores: Mapping[str, AnswerScores], held_out: HeldOut) -> None:
    """Refuses scores of other pairs, or of the same in other words, as far as numbers of tokens tell."""
    for prompt in base_scores.keys() & held_out.tokenized.keys():
        if not np.array_equal(base_scores[prompt].tokens, [pair.answer_tokens for pair in held_out.tokenized[prompt]]):
            where = f"{held_out.pairs.source} (prompt: {prompt})"
            raise InputError(f"base_scores are of other pairs than {where}; give those of an evaluation on the same pairs")


def _check_damage(damage: Damage, tokens: int, masks: Mapping[str, Persona] | None, personas: Sequence[str]) -> None:
    """Refuses a damage of baselines that cannot be measured; ``masks`` are None if no baseline is scaled."""
    if damage is not None and not tokens:
        raise InputError("baseline_damage is a perplexity increase, but perplexity.max_tokens is 0; give some tokens")
    if damage == "masks" and masks is not None and (missing := [persona for persona in personas if persona not in masks]):
        raise InputError(f"baseline_damage is masks, but there is no mask of {missing[0]}; give both masks, or a number")


def _retrievers(baselines: Sequence[str], recipe: Recipe | None, k: int) -> dict[str, AddPrompt]:
    return retrievers(needed(recipe, "baselines"), k) if RAG in baselines else {}


def _pairs_of_judges(judge_pairs: Pairs | None, recipe: Recipe | None, held_out: Pairs) -> Pairs:
    """Returns the pairs that the judges of open answers learn from: given ones, few of them held out, or those of the recipe."""
    if judge_pairs is None:
        return needed(recipe, "open_ended").pairs
    if isinstance(judge_pairs, Lines):
        raise InputError(f"judge_data: pairs are needed; {judge_pairs.source} holds single texts")
    known = {pair.digest for pair in judge_pairs}
    if (shared := sum(pair.digest in known for pair in held_out)) > min(3, len(held_out) // 20):
        where = f"{shared} of the {len(held_out)} held-out pairs are in {judge_pairs.source}"
        raise InputError(f"judge_data: {where}; give another set")
    return judge_pairs


def _generator(
    evaluator: Evaluator,
    train: Pairs,
    asked: Prompts,
    base: bool,
    text: TextMode,
    panel: bool,
    *,
    questions: int,
    samples: int,
    max_new_tokens: int,
) -> OpenEnded:
    """Returns what generates open answers to some of the held-out questions, with judges that learn from ``train``."""
    model, pairs, personas, seed = evaluator.model, evaluator.held_out.pairs, evaluator.personas, evaluator.seed
    sample, judge, prompted = pairs.sample(questions, seed), train_judge(train, pairs), asked.of_open_answers() if base else {}
    generator = OpenEnded(model, sample, judge, personas, text, max_new_tokens, evaluator.stage, prompted, samples, seed)
    if panel:
        generator.add_panel(train, pairs, asked.of_personas(personas), seed)
    return generator


def _cases(
    evaluator: Evaluator,
    masks: Mapping[str, Persona],
    base: bool,
    baselines: Sequence[str],
    recipe: Recipe | None,
    damage: Damage,
    prompts: Sequence[str],
) -> Iterator[tuple[str, MakeParams, Sequence[str] | None]]:
    """Yields each case's name, what makes its parameters, and its prompts: all for the base model, ``prompts`` for masks."""
    model = evaluator.model
    if base:
        yield BASE, made_by(model.params), None
    for persona, mask in masks.items():
        yield persona, functools.partial(apply_mask, model.params, mask), prompts
    if names := list(dict.fromkeys(baselines)):
        recipe = needed(recipe, "baselines")
        scaled_to = _scaled_to(evaluator, masks, damage)
        for name, make in baseline_params(model, names, recipe, evaluator.seed, evaluator.stage, scaled_to):
            yield name, make, ["none"]


def _scaled_to(
    evaluator: Evaluator, masks: Mapping[str, Persona], damage: Damage
) -> tuple[np.ndarray, Mapping[str, float]] | None:
    """Returns the neutral text, and the perplexity increase on it that the baselines of each persona are scaled to."""
    tokens, params = evaluator.tokens, evaluator.model.params
    if damage is None or tokens is None:
        return None
    if damage != "masks":
        return tokens, dict.fromkeys(evaluator.personas, damage)
    base = evaluator.perplexity_of(BASE, made_by(params), tokens)
    made = {name: functools.partial(apply_mask, params, masks[name]) for name in evaluator.personas}
    found = {name: evaluator.perplexity_of(name, make, tokens) for name, make in made.items()}
    return tokens, {name: max(perplexity / base - 1, _LEAST_DAMAGE) for name, perplexity in found.items()}


def _add(
    evaluator: Evaluator, generator: OpenEnded | None, name: str, make: MakeParams, prompts: Sequence[str] | None = None
) -> None:
    """Adds a case; its parameters are made at most once."""
    params = functools.cache(make)
    evaluator.add(name, params, prompts)
    if name in evaluator.not_finite:
        raise InputError(f"log-probabilities under mask {name} are not finite {evaluator.not_finite[name]}: {OVERFLOW}")
    if generator is not None:
        for case in generator.cases_of(name):
            generator.add(case, params)


def _add_controls(
    evaluator: Evaluator, masks: Mapping[str, Persona], neutral: str, recipe: Recipe | None, kinds: Collection[str]
) -> None:
    """Adds control masks of some kinds, if any, and with them the choosers that ignore what answers say."""
    if not kinds:
        return
    model, held_out = evaluator.model, evaluator.held_out
    for name, mask in control_masks(model, masks, neutral, evaluator.seed, recipe, evaluator.stage, kinds):
        _add(evaluator, None, name, functools.partial(apply_mask, model.params, mask), ["none"])
    for name, choices in length_choosers(held_out.lengths).items():
        evaluator.add_choices(name, choices)
    both_orders, in_file = always_a(held_out.pairs)
    if held_out.letters:
        evaluator.add_choices("always A", both_orders, "letter")
    if in_file is not None:
        evaluator.add_choices("A in the file", in_file)


def _result(evaluator: Evaluator, generator: OpenEnded | None, left_out: str | None) -> Evaluation:
    record, answers = (None, []) if generator is None else (generator.record(evaluator.seed), generator.answers)
    rows, separations = evaluator.rows, evaluator.separations(evaluator.seed)
    return Evaluation(rows, separations, record, answers, evaluator.choices, evaluator.base_scores, left_out)
