"""Collects Hessians of a streamed model, one layer at a time."""

from collections.abc import Sequence

import jax

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.calibration.layerwise import LayerCollector
from jaxpersona.calibration.moments import means
from jaxpersona.data.packing import Batch
from jaxpersona.models.streamed_forward import SiteSums
from jaxpersona.models.streamed_model import StreamedModel


def collector(model: StreamedModel, calibration: Calibration) -> LayerCollector:
    """Returns a collector of each layer's ``Hessians``."""
    return LayerCollector(model.batch_decoder(outer_sums), calibration.batches(shared_prefix=False), _reduce)


def _reduce(batches: Sequence[Batch], sums_of: SiteSums) -> dict[str, jax.Array]:
    return means(batches, sums_of)[0]
