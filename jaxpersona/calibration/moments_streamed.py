"""What methods need to know of the calibration texts, collected at one layer while its weights are in memory."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration import moments, text_moments
from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.calibration.moments import SiteSums, Statistics, weighted_sums
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.methods import steering
from jaxpersona.models import streamed_forward
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.streamed_forward import States
from jaxpersona.models.streamed_model import StreamedModel
from jaxpersona.models.weights import Params

Reduce = Callable[[Sequence[Batch], SiteSums], Any]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Calibration texts on their way through the model.

    Attributes:
      decoder: what it collects at each site.
      batches: the texts.
      reduce: makes of the batches' sums what is asked for.
    """

    decoder: Decoder
    batches: Sequence[Batch]
    reduce: Reduce

    def start(self, model: StreamedModel) -> States:
        """The texts before the first layer."""
        return streamed_forward.embed(model, self.decoder, (batch.tokens for batch in self.batches))

    def layer(self, number: int, params: Params, states: States) -> Any:
        """Reads on through layer ``number``, and returns what was collected there, arrays [1, persona, ...] by site."""
        return self.reduce(self.batches, streamed_forward.sums_of_layer(self.decoder, params, number, states))

    def head(self, params: Params, states: States) -> Any:
        """What is collected where the head reads; ``params`` are the final norm's."""
        return self.reduce(self.batches, streamed_forward.sums_at_head(self.decoder, params, states))


def for_statistics(model: StreamedModel, calibration: Calibration) -> Reading:
    """Collects the ``Statistics`` of a layer, as the protocol defines them."""
    if calibration.protocol.statistics == "lines":
        return Reading(Decoder(model.config, weighted_sums), calibration.batches(), text_moments.reduce)

    def reduce(batches: Sequence[Batch], sums_of: SiteSums) -> Statistics:
        return Statistics(*moments.means(batches, sums_of))

    return Reading(model.batch_decoder(weighted_sums), calibration.batches(), reduce)


def for_hessians(model: StreamedModel, calibration: Calibration) -> Reading:
    """Collects the ``Hessians`` of a layer."""

    def reduce(batches: Sequence[Batch], sums_of: SiteSums) -> dict[str, jax.Array]:
        return moments.means(batches, sums_of)[0]

    return Reading(model.batch_decoder(outer_sums), calibration.batches(opened=False), reduce)


def for_residuals(model: StreamedModel, calibration: Calibration) -> Reading:
    """Collects the residual stream after a layer over the answers of each persona, as ``steering.collect_residuals`` does."""

    def reduce(batches: Sequence[Batch], sums_of: SiteSums) -> dict[str, jax.Array]:
        sums = [sums_of(number, batch)["layer_out"] for number, batch in enumerate(batches)]
        return functools.reduce(functools.partial(jax.tree.map, jnp.add), sums)

    decoder = Decoder(model.config, weighted_sums, sites=("layer_out",))
    return Reading(decoder, steering.answer_batches(model, calibration.tokenized), reduce)


def joined(parts: Sequence[Statistics]) -> Statistics:
    """The statistics of all layers from those of each, and at last those where the head reads, a site of its own."""
    layers: dict[str, list[Any]] = {}
    for part in parts:
        for path, moment in flatten(part.moments).items():
            layers.setdefault(path, []).append(moment)
    return Statistics(unflatten({path: jnp.asarray(np.concatenate(found)) for path, found in layers.items()}), parts[0].tokens)
