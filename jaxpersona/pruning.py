"""From scores to masks: keeps the highest-scoring weights of every output, one layer's scores in memory at a time."""

import dataclasses

import jax
import numpy as np

from jaxpersona import bitpack, scores, topk
from jaxpersona.masks import Masks, Params
from jaxpersona.methods import Method, Moments
from jaxpersona.models.sites import MODULES, SITE_OF, kernels, module_of
from jaxpersona.selector import budgets
from jaxpersona.statistics import Statistics


def prune(params: Params, method: Method, statistics: Statistics | None, persona: int, seed: int = 42) -> Masks:
    """The masks of one persona: per output exactly K weights, ties by the Wanda score, then by index.

    Args:
      params: the model's parameters.
      method: what to keep, and how much.
      statistics: for methods that need them.
      persona: index into the statistics' persona axis.
      seed: of methods that draw; personas draw independently.

    Raises:
      InputError: when the method's selectors match nothing in this model.
    """
    flat = kernels(params)
    keep = budgets({path: kernel.shape for path, kernel in flat.items()}, method.sparsity, method.select, dict(method.overrides))
    scoring = dataclasses.replace(method, sparsity=0.0, select="all", overrides=())  # one compilation whatever the budget
    words: dict[str, jax.Array] = {}
    for path, kernel in flat.items():
        moments, key = _inputs(path, method, statistics, persona, seed)
        words[path] = _prune_kernel(scoring, kernel, moments, keep[path].astype(np.int32), key)
    return Masks.of(params, words)


def score(params: Params, method: Method, statistics: Statistics | None, persona: int, seed: int = 42) -> dict[str, jax.Array]:
    """The method's scores for one persona, float32 [layer, in, out] by kernel path."""
    found = {}
    for path, kernel in kernels(params).items():
        moments, key = _inputs(path, method, statistics, persona, seed)
        found[path] = jax.vmap(method.score)(kernel, moments, jax.random.split(key, kernel.shape[0]))
    return found


def _inputs(
    path: str, method: Method, statistics: Statistics | None, persona: int, seed: int
) -> tuple[Moments | None, jax.Array]:
    """The statistics [layer, in] that belong to a kernel, and its own random key."""
    moments = None
    if "statistics" in method.needs:
        if statistics is None:
            raise ValueError(f"method {method.name} needs statistics")
        moments = statistics.of(SITE_OF[module_of(path)], persona)
    key = jax.random.fold_in(jax.random.key(seed), persona)
    return moments, jax.random.fold_in(key, MODULES.index(module_of(path)))


@jax.jit(static_argnames="method")
def _prune_kernel(method: Method, kernel: jax.Array, moments: Moments | None, keep: jax.Array, key: jax.Array) -> jax.Array:
    """Packed mask words of one stacked kernel [layer, in, out]."""

    def layer(args: tuple[jax.Array, Moments | None, jax.Array, jax.Array]) -> jax.Array:
        kernel, moments, keep, key = args
        tie_break = None if moments is None else scores.wanda(kernel, moments["mean_abs"])
        return bitpack.pack(topk.top_k_mask(method.score(kernel, moments, key), keep, tie_break))

    return jax.lax.map(layer, (kernel, moments, keep, jax.random.split(key, kernel.shape[0])))
