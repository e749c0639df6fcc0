"""Registry of baselines: functions that compute a persona's parameters from the calibration pairs.

To add a baseline, enter a function of type ``Baseline`` in ``BASELINES``. ``rag`` is not among them because it changes the
prompt, not the parameters (``retrieval.py``).
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.calibrate import calibrate
from jaxpersona.calibration.residuals import collect
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.text import TokenizedPair
from jaxpersona.evaluation.baselines.equal_damage import at_damage
from jaxpersona.evaluation.baselines.fine_tuning import FineTuning, fine_tune
from jaxpersona.evaluation.baselines.retrieval import RAG
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.masks.masks import apply_mask
from jaxpersona.methods.steering import Steering
from jaxpersona.models.model import Model

_log = logging.getLogger(__name__)

Baseline = Callable[[Model, Recipe, int, int, Stage], Params]
"""Maps (model, recipe, persona index in ``recipe.personas``, seed, stage) to the persona's parameters.

It uses only ``pairs``, ``text`` and ``max_length`` of the recipe: the calibration pairs and how they are tokenized.
"""


def _fine_tuned(options: FineTuning, model: Model, recipe: Recipe, persona: int, seed: int, stage: Stage) -> Params:
    """Fine-tunes on four fifths of the calibration pairs; the rest is for early stopping. Warns if no epoch made that better."""
    pairs = _tokenized(model, recipe)
    found = fine_tune(model, pairs, dataclasses.replace(options, seed=seed), persona, stage=stage)
    if found.best_epoch == 0:
        what, name = options.objective, recipe.personas[persona]
        _log.warning("%s towards %s learned nothing: no epoch improved its validation loss, so it is the base model", what, name)
    return found.params


def _steered(model: Model, recipe: Recipe, persona: int, seed: int, stage: Stage) -> Params:
    residuals = collect(model, _tokenized(model, recipe), stage.part("steering"))
    return apply_mask(model.params, Steering().vectors(residuals, persona))


def _weight_steered(model: Model, recipe: Recipe, persona: int, seed: int, stage: Stage) -> Params:
    """Adds what SFT towards the persona changes, minus what SFT towards its opposite changes (arXiv 2511.05408)."""

    def train() -> dict[str, Params]:
        first, second = (_fine_tuned(FineTuning("sft"), model, recipe, side, seed, stage) for side in (0, 1))
        return {"change": jax.tree.map(jnp.subtract, first, second)}

    change, sign = stage.part("weight steering").once(train)["change"], 1 - 2 * persona  # one change serves both personas
    return jax.tree.map(lambda base, towards: base + sign * towards, model.params, change)


def _tokenized(model: Model, recipe: Recipe) -> tuple[TokenizedPair, ...]:
    count = len(recipe.pairs)
    return calibrate(model, recipe.pairs, num_samples=count, text=recipe.text, max_length=recipe.max_length).tokenized


BASELINES: dict[str, Baseline] = {
    "sft": functools.partial(_fine_tuned, FineTuning("sft")),
    "sft_lora": functools.partial(_fine_tuned, FineTuning("sft", lora_rank=8)),
    "dpo": functools.partial(_fine_tuned, FineTuning("dpo")),
    "dpo_lora": functools.partial(_fine_tuned, FineTuning("dpo", lora_rank=8)),
    "weight_steering": _weight_steered,
    "steering": _steered,
}


def check_baselines(names: Sequence[str]) -> None:
    """Checks names of baselines.

    Raises:
      InputError: if a name is neither ``rag`` nor in ``BASELINES``.
    """
    for name in names:
        if name not in (RAG, *BASELINES):
            raise InputError(f"baseline {name!r} is unknown; {nearest(name, (RAG, *BASELINES))}")


def baseline_params(
    model: Model,
    names: Sequence[str],
    recipe: Recipe,
    seed: int = 42,
    stage: Stage = QUIET,
    damage: tuple[np.ndarray, Mapping[str, float]] | None = None,
) -> Iterator[tuple[str, Callable[[], Params]]]:
    """Yields a function that computes each baseline's parameters, for both personas, named "NAME PERSONA".

    Args:
      names: of baselines; ``rag``, which has no parameters, is skipped.
      damage: tokens int32 [n, length] and, by persona, the relative perplexity increase on them that changes are scaled to
        (``at_damage``).
    """

    def make(name: str, index: int, persona: str) -> Params:
        params = BASELINES[name](model, recipe, index, seed, stage)
        if damage is None:
            return params
        tokens, increases = damage
        return at_damage(model, params, tokens, increases[persona], f"{name} {persona}")

    for name in names:
        if name != RAG:
            for index, persona in enumerate(recipe.personas):
                yield f"{name} {persona}", functools.partial(make, name, index, persona)
