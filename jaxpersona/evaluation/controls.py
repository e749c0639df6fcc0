"""Controls: persona-blind masks of a persona mask's budget, and choosers that ignore the answers' content."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxpersona.calibration.moments import collect
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.mesh import by_output, row_multiple
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.packing import whole_rows
from jaxpersona.data.pairs import Pairs
from jaxpersona.discovery.pipeline import discover
from jaxpersona.evaluation.choices import Choices
from jaxpersona.evaluation.letters import listed_options
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.masks.masks import Masks
from jaxpersona.masks.steering_vectors import SteeringVectors
from jaxpersona.masks.weight_update import masks_of
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import windows
from jaxpersona.models.persona import Persona
from jaxpersona.models.sites import MODULES, SITE_OF, kernels, module_of
from jaxpersona.ops import bitpack, topk
from jaxpersona.scores import importance

SHUFFLED = "shuffled"
"""The control that needs to know how the masks were found."""
CONTROLS = ("random", "magnitude", "neutral", SHUFFLED)
"""Kinds of control masks."""


def check_controls(names: Iterable[str]) -> None:
    """Refuses unknown kinds of controls.

    Raises:
      InputError: for a name that is not in ``CONTROLS``.
    """
    for name in names:
        if name not in CONTROLS:
            raise InputError(f"control {name!r} is unknown; {nearest(name, CONTROLS)}")


def control_masks(
    model: Model,
    masks: Mapping[str, Persona],
    neutral: str,
    seed: int,
    recipe: Recipe | None = None,
    stage: Stage = QUIET,
    kinds: Collection[str] = CONTROLS,
) -> Iterator[tuple[str, Persona]]:
    """Yields the controls of persona masks with their names, one at a time to limit memory.

    - ``random``: weights kept at random; for steering vectors, a random direction.
    - ``magnitude``: the largest weights kept.
    - ``neutral``: Wanda calibrated on neutral text.
    - ``shuffled``: the masks' own method on pairs with shuffled labels.

    A control that is equal for all personas has the name alone; otherwise the name is followed by the persona whose budget it
    has. Steering vectors have only ``random`` and ``shuffled``.

    Args:
      neutral: calibration text of ``neutral``.
      recipe: how the masks were found; None omits ``shuffled``.
      kinds: the kinds of ``CONTROLS`` to yield.
    """
    for number, (persona, mask) in enumerate(masks.items() if "random" in kinds else ()):
        if isinstance(mask, SteeringVectors):
            yield f"random {persona}", random_direction(mask, seed + number)
        elif (own := masks_of(mask)) is not None:
            yield f"random {persona}", random_mask(model, own, seed + number)
    if only_masks := {persona: own for persona, mask in masks.items() if (own := masks_of(mask)) is not None}:
        if "magnitude" in kinds:
            yield from _of_both("magnitude", {name: magnitude_mask(model, mask) for name, mask in only_masks.items()})
        if "neutral" in kinds:
            yield from _of_both("neutral", {name: neutral_mask(model, mask, neutral) for name, mask in only_masks.items()})
    if recipe is not None and SHUFFLED in kinds:
        blind, count = shuffled(recipe.pairs, seed), len(recipe.pairs)
        options: dict[str, Any] = {
            "num_samples": count,
            "text": recipe.text,
            "max_length": recipe.max_length,
            "personas": recipe.personas,
        }
        options |= {"generated": recipe.generated, "reuse_factors": recipe.reuse_factors}
        discovery = discover(model, blind, recipe.method, **options, seed=seed, protocol=recipe.protocol, stage=stage)
        yield from ((f"shuffled {persona}", discovery.masks[persona]) for persona in masks)


def _of_both(name: str, masks: Mapping[str, Masks]) -> Iterator[tuple[str, Masks]]:
    """Yields one mask under ``name`` if all are equal, else each under its name and persona."""
    first, *others = masks.values()
    if not any((first.words[path] != other.words[path]).any() for other in others for path in first.words):
        yield name, first
    else:
        yield from ((f"{name} {persona}", mask) for persona, mask in masks.items())


def random_mask(model: Model, mask: Masks, seed: int) -> Masks:
    """Returns a mask that keeps random weights, as many per output as ``mask``."""
    noise: dict[str, jax.Array] = {}
    for path, kernel in kernels(model.params).items():
        noise[path] = importance.random(kernel, jax.random.fold_in(jax.random.key(seed), MODULES.index(module_of(path))))
    return _same_budget(mask, noise)


def random_direction(steering: SteeringVectors, seed: int) -> SteeringVectors:
    """Returns vectors of the norms of ``steering``, in random directions."""
    noise = SteeringVectors(jax.random.normal(jax.random.key(seed), steering.vectors.shape))
    return SteeringVectors(noise.vectors * (steering.norms() / noise.norms())[:, None].astype(np.float32))


def magnitude_mask(model: Model, mask: Masks) -> Masks:
    """Returns a mask that keeps the largest weights, as many per output as ``mask``."""
    return _same_budget(mask, {path: importance.magnitude(kernel) for path, kernel in kernels(model.params).items()})


def neutral_mask(model: Model, mask: Masks, text: str, max_tokens: int = 4096) -> Masks:
    """Returns a Wanda mask calibrated on neutral text that keeps as many weights per output as ``mask``."""
    tokens = windows(model, text, max_tokens)
    statistics = collect(model, whole_rows(tokens, model.tokenizer.bos_token_id, row_multiple(model.mesh)))
    flat = kernels(model.params)
    strength = {path: statistics.of(SITE_OF[module_of(path)], 0)["mean_abs"] for path in flat}
    return _same_budget(mask, {path: importance.wanda(flat[path], strength[path]) for path in flat})


def _same_budget(mask: Masks, scores: Mapping[str, jax.Array]) -> Masks:
    """Keeps the highest-scored weights of every output, as many as ``mask`` keeps; leaves the head's mask unchanged."""
    words: dict[str, jax.Array] = {path: _keep_as_many(mask.words[path], by_output(score)) for path, score in scores.items()}
    return dataclasses.replace(mask, words=mask.words | words)


@jax.jit
def _keep_as_many(words: jax.Array, scores: jax.Array) -> jax.Array:
    def layer(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        words, scores = args
        keep = bitpack.unpack(words, scores.shape[0]).sum(axis=0)
        return bitpack.pack(topk.top_k_mask(scores, keep))

    return jax.lax.map(layer, (words, scores))


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    """Swaps the two answers in a random half of the pairs, so that their masks know the topic but not the persona.

    Sorts pairs by length and swaps one of every two neighbours. Long answers weigh more in a summed margin, so a half drawn
    regardless of length would leave some of the persona, or of its opposite, in the labels.
    """
    length = [len(pair.matching) + len(pair.not_matching) for pair in pairs]
    couples = np.argsort(length, kind="stable")[: len(length) // 2 * 2].reshape(-1, 2)
    second = np.random.default_rng(seed).integers(2, size=len(couples))
    swap = set(couples[np.arange(len(couples)), second].tolist())
    items = tuple(pair.swapped() if number in swap else pair for number, pair in enumerate(pairs))
    return dataclasses.replace(pairs, source=f"{pairs.source}, shuffled", items=items)


def length_choosers(lengths: np.ndarray) -> dict[str, Choices]:
    """Returns the choices of always taking the longer answer, and of always taking the shorter one.

    Args:
      lengths: int [pairs, 2], bytes of the answers.
    """
    margin = (lengths[:, 0] - lengths[:, 1]).astype(float)
    longer = Choices((np.sign(margin) + 1) / 2, margin)
    return {"longer": longer, "shorter": longer.against()}


def always_a(pairs: Pairs) -> tuple[Choices, Choices | None]:
    """Returns the choices of always naming A: over both orders of the options, and in the file's own order.

    Where a question lists its options itself, the first has its one order. The second is None if the file lists no options.
    """
    listed = listed_options(pairs)
    asked = np.select([listed == "A", listed == "B"], [1.0, 0.0], 0.5)
    by_letter = Choices(asked, 2 * asked - 1, 1.0)
    if not all(pair.letter for pair in pairs):
        return by_letter, None
    correct = np.array([float(pair.letter == "A") for pair in pairs])
    return by_letter, Choices(correct, 2 * correct - 1, 1.0)
