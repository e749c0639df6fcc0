"""Collects moments of a streamed model, one layer at a time."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration import text_moments
from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.layerwise import LayerCollector
from jaxpersona.calibration.moments import Statistics, means, weighted_sums
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.streamed_forward import SiteSums
from jaxpersona.models.streamed_model import StreamedModel


def collector(model: StreamedModel, calibration: Calibration) -> LayerCollector:
    """Returns a collector of each layer's ``Statistics``, as the protocol defines them."""
    if calibration.protocol.statistics == "lines":
        return LayerCollector(Decoder(model.config, weighted_sums), calibration.batches(), text_moments.reduce)
    return LayerCollector(model.batch_decoder(weighted_sums), calibration.batches(), _reduce)


def _reduce(batches: Sequence[Batch], sums_of: SiteSums) -> Statistics:
    return Statistics(*means(batches, sums_of))


def joined(parts: Sequence[Statistics]) -> Statistics:
    """Joins the statistics of all layers and, if they come last, those at the head's input, which is a separate site."""
    layers: dict[str, list[Any]] = {}
    for part in parts:
        for path, moment in flatten(part.moments).items():
            layers.setdefault(path, []).append(moment)
    return Statistics(unflatten({path: jnp.asarray(np.concatenate(values)) for path, values in layers.items()}), parts[0].tokens)
