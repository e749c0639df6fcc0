"""Averages the residual stream after every layer over each persona's answers, for activation steering."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxpersona.calibration.moments import weighted_sums
from jaxpersona.core.mesh import add_over_rows, pin_moments, place_rows, row_multiple
from jaxpersona.core.stage import QUIET, Stage, summed
from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch, answer_weights, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.model import Model


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Averages of the residual stream after every layer.

    Attributes:
      means: float32 [layer, persona, hidden], mean over pairs of the mean over an answer's tokens.
      length: float32 [layer], root mean square of the stream's Euclidean norm over both personas' answers.
    """

    means: jax.Array
    length: jax.Array


def collect(model: Model, pairs: Sequence[TokenizedPair], stage: Stage = QUIET) -> Residuals:
    """Runs the pairs through the model and returns the averages of all layers.

    Args:
      pairs: from ``tokenize_pair``.
      stage: progress counts batches.
    """
    decoder = Decoder(model.config, weighted_sums, sites=("layer_out",))

    def sums(batch: Batch) -> Any:
        return _sums(model.params, place_rows(batch, model.mesh), decoder, model.mesh)

    return residuals_of(summed(answer_batches(model, pairs), sums, stage))


def answer_batches(model: Model, pairs: Sequence[TokenizedPair]) -> list[Batch]:
    """Packs the pairs into batches whose token weights turn sums over tokens into means over pairs of means over an answer."""
    batches = pack(pairs, model.tokenizer.bos_token_id, row_multiple=row_multiple(model.mesh))
    return [dataclasses.replace(batch, weights=answer_weights(batch, pairs) / len(pairs)) for batch in batches]


def residuals_of(sums: Mapping[str, jax.Array]) -> Residuals:
    """Returns the residuals from weighted sums by moment, [layer, persona, hidden]."""
    return Residuals(sums["mean"], jnp.sqrt(jnp.mean(jnp.sum(sums["mean_square"], axis=2), axis=1)))


@functools.partial(jax.jit, static_argnames=("decoder", "mesh"))
def _sums(params: Params, batch: Batch, decoder: Decoder, mesh: Mesh | None) -> Any:
    """Returns weighted sums over a batch's tokens by moment, [layer, persona, hidden]."""

    def local(params: Params, batch: Batch) -> Any:
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": batch.weights}
        _, state = decoder.apply({"params": params}, batch.tokens, **inputs, mutable=["stats"], method="hidden")
        return by_site(state)["layer_out"]

    return pin_moments(add_over_rows(local, mesh, (params,), (batch,)), mesh)
