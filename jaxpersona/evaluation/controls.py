"""Controls: masks that cost as much as a persona's but know nothing of it, and choosers that do not read."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from jaxpersona.calibration.moments import collect
from jaxpersona.core.mesh import by_output, row_multiple
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.packing import whole_rows
from jaxpersona.data.pairs import Pairs
from jaxpersona.discovery.pipeline import discover
from jaxpersona.evaluation.choices import Choices
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


def control_masks(
    model: Model, masks: Mapping[str, Persona], neutral: str, seed: int, recipe: Recipe | None = None, stage: Stage = QUIET
) -> Iterator[tuple[str, Persona]]:
    """The controls of personas' masks by name, one at a time: ``random``, ``magnitude``, ``neutral`` and ``shuffled``.

    A control that comes out the same for all personas has the bare name; otherwise the persona whose budget it has follows it.
    Steering vectors have the controls ``random`` (another direction) and ``shuffled``.

    Args:
      neutral: text for Wanda without a persona.
      recipe: how the masks were found; None leaves out ``shuffled``.
    """
    for number, (persona, mask) in enumerate(masks.items()):
        if isinstance(mask, SteeringVectors):
            yield f"random {persona}", random_direction(mask, seed + number)
        elif (own := masks_of(mask)) is not None:
            yield f"random {persona}", random_mask(model, own, seed + number)
    if cut := {persona: own for persona, mask in masks.items() if (own := masks_of(mask)) is not None}:
        yield from _of_both("magnitude", {persona: magnitude_mask(model, mask) for persona, mask in cut.items()})
        yield from _of_both("neutral", {persona: neutral_mask(model, mask, neutral) for persona, mask in cut.items()})
    if recipe is not None:
        blind, count = shuffled(recipe.pairs, seed), len(recipe.pairs)
        options = {"num_samples": count, "text": recipe.text, "max_length": recipe.max_length, "personas": recipe.personas}
        found = discover(model, blind, recipe.method, **options, seed=seed, protocol=recipe.protocol, stage=stage)
        yield from ((f"shuffled {persona}", found.masks[persona]) for persona in masks)


def _of_both(name: str, masks: Mapping[str, Masks]) -> Iterator[tuple[str, Masks]]:
    first, *others = masks.values()
    if not any((first.words[path] != other.words[path]).any() for other in others for path in first.words):
        yield name, first
    else:
        yield from ((f"{name} {persona}", mask) for persona, mask in masks.items())


def random_mask(model: Model, mask: Masks, seed: int) -> Masks:
    """Keeps as many weights of every output as ``mask`` does, drawn at random."""
    noise: dict[str, jax.Array] = {}
    for path, kernel in kernels(model.params).items():
        noise[path] = importance.random(kernel, jax.random.fold_in(jax.random.key(seed), MODULES.index(module_of(path))))
    return _same_budget(mask, noise)


def random_direction(steering: SteeringVectors, seed: int) -> SteeringVectors:
    """After each layer a vector as long as that of ``steering``, in a direction drawn at random."""
    noise = SteeringVectors(jax.random.normal(jax.random.key(seed), steering.vectors.shape))
    return SteeringVectors(noise.vectors * (steering.norms() / noise.norms())[:, None].astype(np.float32))


def magnitude_mask(model: Model, mask: Masks) -> Masks:
    """Keeps as many weights of every output as ``mask`` does, the largest."""
    return _same_budget(mask, {path: importance.magnitude(kernel) for path, kernel in kernels(model.params).items()})


def neutral_mask(model: Model, mask: Masks, text: str, max_tokens: int = 4096) -> Masks:
    """Keeps as many weights of every output as ``mask`` does, by Wanda calibrated on neutral text."""
    tokens = windows(model, text, max_tokens)
    found = collect(model, whole_rows(tokens, model.tokenizer.bos_token_id, row_multiple(model.mesh)))
    flat = kernels(model.params)
    strength = {path: found.of(SITE_OF[module_of(path)], 0)["mean_abs"] for path in flat}
    return _same_budget(mask, {path: importance.wanda(flat[path], strength[path]) for path in flat})


def _same_budget(mask: Masks, ranks: Mapping[str, jax.Array]) -> Masks:
    """Of every output the highest-ranked weights, as many as ``mask`` keeps of it; the head stays as it is."""
    words: dict[str, jax.Array] = {path: _keep_as_many(mask.words[path], by_output(rank)) for path, rank in ranks.items()}
    return dataclasses.replace(mask, words=mask.words | words)


@jax.jit
def _keep_as_many(words: jax.Array, ranks: jax.Array) -> jax.Array:
    def layer(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        words, ranks = args
        keep = bitpack.unpack(words, ranks.shape[0]).sum(axis=0)
        return bitpack.pack(topk.top_k_mask(ranks, keep))

    return jax.lax.map(layer, (words, ranks))


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    """The pairs with the two answers exchanged in a random half: masks found on them know the topic but not the persona.

    Of every two pairs that are neighbours in length one is exchanged: long answers weigh more in a summed margin, and a half
    drawn without regard to them would leave some of the persona, or of its opposite, in the labels.
    """
    length = [len(pair.matching) + len(pair.not_matching) for pair in pairs]
    couples = np.argsort(length, kind="stable")[: len(length) // 2 * 2].reshape(-1, 2)
    second = np.random.default_rng(seed).integers(2, size=len(couples))
    swap = set(couples[np.arange(len(couples)), second].tolist())
    items = tuple(pair.swapped() if number in swap else pair for number, pair in enumerate(pairs))
    return dataclasses.replace(pairs, source=f"{pairs.source}, shuffled", items=items)


def length_choosers(lengths: np.ndarray) -> dict[str, Choices]:
    """What always taking the longer, or the shorter, answer would choose; lengths [pairs, 2] in bytes."""
    margin = (lengths[:, 0] - lengths[:, 1]).astype(float)
    longer = Choices((np.sign(margin) + 1) / 2, margin)
    return {"longer": longer, "shorter": longer.against()}


def always_a(pairs: Pairs) -> tuple[Choices, Choices | None]:
    """What always naming A would choose: over both orders of the options, and in a file's own, where it lists options."""
    half = Choices(np.full(len(pairs), 0.5), np.zeros(len(pairs)), 1.0)
    if not all(pair.letter for pair in pairs):
        return half, None
    correct = np.array([float(pair.letter == "A") for pair in pairs])
    return half, Choices(correct, 2 * correct - 1, 1.0)
