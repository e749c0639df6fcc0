"""Averages the residual stream after every layer of a streamed model."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.layerwise import LayerCollector
from jaxpersona.calibration.moments import weighted_sums
from jaxpersona.calibration.residuals import Residuals, answer_batches, residuals_of
from jaxpersona.core.stage import Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.layer_loop import State, in_order, run_layers
from jaxpersona.models.streamed_forward import SiteSums
from jaxpersona.models.streamed_model import StreamedModel


def collect(model: StreamedModel, calibration: Calibration, stage: Stage) -> Residuals:
    """Returns the same as ``residuals.collect``; progress counts layers.

    Raises:
      InputError: if the data are single texts.
    """
    calibration.refuse_lines()
    decoder = Decoder(model.config, weighted_sums, sites=("layer_out",))
    texts = LayerCollector(decoder, answer_batches(model, calibration.tokenized), _total)

    def step(number: int, params: Params, state: State) -> None:
        state.setdefault("found", {})[number] = texts.layer(number, params, state["states"])

    state = run_layers(model, lambda: {"states": texts.start(model)}, step, {}, stage)
    return residuals_of(jax.tree.map(lambda *layers: jnp.asarray(np.concatenate(layers)), *in_order(state["found"])))


def _total(batches: Sequence[Batch], sums_of: SiteSums) -> dict[str, Any]:
    sums = [sums_of(number, batch)["layer_out"] for number, batch in enumerate(batches)]
    return functools.reduce(functools.partial(jax.tree.map, jnp.add), sums)
