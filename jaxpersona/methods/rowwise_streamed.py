"""Row-wise masks of a streamed model: a layer's moments, scores, selection and packing, then the next layer's."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.moments import Statistics
from jaxpersona.calibration.moments_streamed import collector, joined
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import Stage
from jaxpersona.core.tree import Params
from jaxpersona.masks.mask_writer import MaskWriter
from jaxpersona.masks.masks import Masks
from jaxpersona.methods import rowwise
from jaxpersona.methods.row_scores import RowScores
from jaxpersona.models.layer_loop import State, in_order, run_layers
from jaxpersona.models.sites import HEAD, kernels
from jaxpersona.models.streamed_model import StreamedModel

_PIECE = 2**20  # weights


def prune(
    model: StreamedModel, method: RowScores, calibration: Calibration, seed: int, stage: Stage
) -> tuple[tuple[Masks, Masks], Statistics | None]:
    """Finds the masks of both personas, as ``rowwise.prune`` does, and the statistics behind them, if the method needs any.

    Args:
      seed: of methods that draw.
      stage: progress counts layers.

    Raises:
      InputError: when the method's selectors match nothing in this model.
      WriteError: when there is no room for the masks.
    """
    protocol = calibration.protocol
    flat = jax.eval_shape(lambda params: method.masked(params, protocol), model.params)
    keep, scoring = method.kept(flat, protocol), rowwise.without_budget(method)
    writer = MaskWriter(flat, MappedArrays(stage, model.scratch).array)
    texts = collector(model, calibration) if method.needs else None

    def choose(path: str, kernel: jax.Array, layer: int, found: Statistics | None) -> None:
        moments, keys = rowwise.inputs_of(path, flat[path].shape[0], method, found, seed)
        which = slice(layer, layer + 1)
        parts = pieces(kernel) if method.by_output(protocol) else 1
        chosen = [
            np.asarray(rowwise.prune_kernel(scoring, protocol, part, keep[path][which], moments, keys[which]))
            for part in jnp.split(kernel, parts, axis=-1)
        ]
        writer.put(path, layer, np.concatenate(chosen, axis=-1))

    def step(number: int, params: Params, state: State) -> None:
        found = texts.layer(number, params, state["states"]) if texts else None
        if found:
            state.setdefault("found", {})[number] = vars(found)
        for path, kernel in kernels(params).items():
            choose(path, kernel, number, found)

    state = run_layers(model, lambda: {"states": texts.start(model)} if texts else {}, step, writer.parts, stage)
    found = [Statistics(part["moments"], tuple(map(int, part["tokens"]))) for part in in_order(state.get("found", {}))]
    if texts and protocol.prune_head:
        found.append(texts.head(model.part("norm"), state["states"]))
    if HEAD in flat:
        choose(HEAD, model.part("lm_head")["lm_head"]["kernel"][None], 0, found[-1] if found else None)
    first, second = writer.masks(model.params)
    return (first, second), joined(found) if found else None


def pieces(kernel: jax.Array) -> int:
    """Returns how many parts a kernel's outputs are split into, as selection takes several times the size of its part."""
    outputs = kernel.shape[-1]
    return next(
        count for count in range(1, outputs + 1) if (outputs % count == 0 and kernel.size // count <= _PIECE) or count == outputs
    )
