"""Collects moments of whole texts: norms over a text's tokens, averaged over texts, as the paper's scripts measure activation.

Such a norm grows with the square root of a text's length. The same pass also collects moments over tokens.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxpersona.calibration.moments import Statistics, site_sums, weighted_sums
from jaxpersona.core.mesh import place_rows
from jaxpersona.core.stage import QUIET, Stage, summed
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import Model
from jaxpersona.models.sites import SiteSums

_OF_TEXTS = {"norm": "norm_variance", "line_mean": "line_mean_variance"}


def collect(model: Model, batches: Sequence[Batch], head: bool = False, stage: Stage = QUIET) -> Statistics:
    """Runs the batches through the model and returns moments over texts as well as over tokens.

    Args:
      head: if True, also collects at the input of the head (site ``head_in``).
      stage: progress counts batches.
    """
    decoder, mesh = Decoder(model.config, weighted_sums), model.mesh

    def sums_of(number: int, batch: Batch) -> dict[str, Any]:
        return site_sums(model.params, place_rows(batch, mesh), decoder, mesh, head)

    return reduce(batches, sums_of, stage)


def reduce(batches: Sequence[Batch], sums_of: SiteSums, stage: Stage = QUIET) -> Statistics:
    """Reduces the batches' sums to moments over tokens and over texts.

    ``norm`` and ``norm_variance`` are mean and population variance over texts of the L2 norm of h over a text's tokens.
    ``line_mean`` and ``line_mean_variance`` are those of the mean of h over a text's tokens. All are float32
    [layer, persona, channel], reduced in float64. The decoder sees each text as a persona of its own.
    """
    most = max(len(_members(batch)) for batch in batches)

    def sums(item: tuple[int, Batch]) -> dict[str, Any]:
        number, batch = item
        weights = _text_weights(batch, most)
        tokens = weights.sum(axis=(2, 3))
        by_site = sums_of(number, dataclasses.replace(batch, weights=weights.reshape(-1, *weights.shape[2:])))
        reduced = {site: _sums_over_texts(by_name, tokens) for site, by_name in by_site.items()}
        return {"tokens": tokens.sum(axis=1, dtype=np.float64), "texts": (tokens > 0).sum(axis=1, dtype=np.float64)} | reduced

    totals = summed(list(enumerate(batches)), sums, stage, functools.partial(jax.tree.map, np.add))
    counts, texts = totals.pop("tokens"), totals.pop("texts")
    moments = {site: _moments(by_name, np.maximum(counts, 1), np.maximum(texts, 1)) for site, by_name in totals.items()}
    return Statistics(moments, (int(counts[0]), int(counts[1])))


def _members(batch: Batch) -> np.ndarray:
    """Returns the numbers of the pairs whose tokens are in a batch."""
    return np.unique(np.asarray(batch.pair)[np.asarray(batch.pair) >= 0])


def _text_weights(batch: Batch, most: int) -> np.ndarray:
    """Returns the token weights of each text alone, float32 [persona, ``most``, B, T]; zeros beyond the batch's last text."""
    weights = np.zeros((2, most, *batch.tokens.shape), np.float32)
    for number, pair in enumerate(_members(batch)):
        weights[:, number] = np.asarray(batch.weights) * (np.asarray(batch.pair) == pair)
    return weights


def _sums_over_texts(sums: dict[str, jax.Array], tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Returns sums over texts, float64 [layer, persona, channel].

    Args:
      sums: sums over each text's tokens, [layer, persona * text, channel] by moment.
      tokens: [persona, text], number of tokens that count.
    """
    wide = {name: np.asarray(value, np.float64).reshape(len(value), *tokens.shape, -1) for name, value in sums.items()}
    of_text = {
        "norm": np.sqrt(wide["mean_square"]),
        "line_mean": wide["mean"] / np.maximum(tokens, 1)[:, :, None],
    }
    squares = {f"{name}_square": np.square(value) for name, value in of_text.items()}
    return {name: value.sum(axis=2) for name, value in (wide | of_text | squares).items()}


def _moments(totals: dict[str, np.ndarray], tokens: np.ndarray, texts: np.ndarray) -> dict[str, jax.Array]:
    moments = {name: totals[name] / tokens[:, None] for name in ("mean_abs", "mean", "mean_square")}
    for name, variance in _OF_TEXTS.items():
        moments[name] = totals[name] / texts[:, None]
        moments[variance] = np.maximum(totals[f"{name}_square"] / texts[:, None] - np.square(moments[name]), 0)
    return {name: jax.numpy.asarray(value, jax.numpy.float32) for name, value in moments.items()}
