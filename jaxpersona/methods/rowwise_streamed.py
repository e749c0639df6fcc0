"""Masks of methods that need no gradient: a layer's statistics, scores, selection and packing, then the next layer's."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.moments import Statistics
from jaxpersona.calibration.moments_streamed import Reading, for_hessians, for_residuals, for_statistics, joined
from jaxpersona.core.checkpoints import Checkpoint, Checkpoints
from jaxpersona.core.errors import InputError
from jaxpersona.core.memmap import Scratch
from jaxpersona.core.progress import Progress
from jaxpersona.masks.mask_writer import Words
from jaxpersona.masks.masks import Masks
from jaxpersona.methods import rowwise, sparsegpt, steering
from jaxpersona.methods.methods import Method, SparseGPT
from jaxpersona.methods.steering import Residuals
from jaxpersona.models.layer_loop import State, walk
from jaxpersona.models.sites import HEAD, kernels
from jaxpersona.models.streamed_model import StreamedModel
from jaxpersona.models.weights import Params
from jaxpersona.ops import bitpack

_PIECE = 2**20  # weights


def prune(
    model: StreamedModel, method: Method, calibration: Calibration, seed: int, progress: Progress, checkpoints: Checkpoints
) -> tuple[tuple[Masks, Masks], Statistics | None]:
    """The masks of both personas that ``pruning.prune`` finds, and the statistics they come from, if the method needs any.

    Args:
      seed: of methods that draw.
      progress: called with (layers done, layers in all).
      checkpoints: keep the layers done.

    Raises:
      InputError: when the method's selectors match nothing in this model, or there is no room for the masks.
    """
    protocol = calibration.protocol
    flat = jax.eval_shape(lambda params: rowwise.masked(params, method, protocol), model.params)
    keep, scoring = rowwise.kept_of(flat, method, protocol), rowwise.without_budget(method)
    words = Words(flat, Scratch(model, checkpoints).array)
    reading = for_statistics(model, calibration) if method.needs else None

    def choose(path: str, kernel: jax.Array, layer: int, found: Statistics | None) -> None:
        moments, keys = rowwise.inputs_of(path, flat[path].shape[0], method, found, seed)
        which = slice(layer, layer + 1)
        parts = pieces(kernel) if method.by_output(protocol) else 1
        chosen = [
            np.asarray(rowwise.prune_kernel(scoring, protocol, part, keep[path][which], moments, keys[which]))
            for part in jnp.split(kernel, parts, axis=-1)
        ]
        words.put(path, layer, np.concatenate(chosen, axis=-1))

    def step(number: int, params: Params, state: State) -> None:
        found = reading.layer(number, params, state["states"]) if reading else None
        if found:
            state.setdefault("found", {})[number] = vars(found)
        for path, kernel in kernels(params).items():
            choose(path, kernel, number, found)

    state = walk(model, lambda: _beginning(model, reading), step, words.parts, checkpoints["mask"], progress)
    found = [Statistics(part["moments"], tuple(map(int, part["tokens"]))) for part in _in_order(state.get("found", {}))]
    if reading and protocol.prune_head:
        found.append(reading.head(model.part("norm"), state["states"]))
    if HEAD in flat:
        choose(HEAD, model.part("lm_head")["lm_head"]["kernel"][None], 0, found[-1] if found else None)
    first, second = words.masks(model.params)
    return (first, second), joined(found) if found else None


def prune_by_hessians(
    model: StreamedModel, method: SparseGPT, calibration: Calibration, progress: Progress, checkpoints: Checkpoints
) -> tuple[Masks, Masks]:
    """The masks of both personas that ``sparsegpt.prune`` finds; the Hessians of one layer are in memory at a time.

    Args:
      progress: called with (layers done, layers in all).
      checkpoints: keep the layers done.

    Raises:
      InputError: when the method's selectors match nothing in this model, it changes weights, or there is no room for the masks.
    """
    if method.update:
        raise InputError(
            "method.update keeps changed weights, as many as the model has, in memory; leave it out with stream_layers"
        )
    flat, reading = kernels(model.params), for_hessians(model, calibration)
    keep = rowwise.kept_of(flat, method, calibration.protocol)
    words = Words(flat, Scratch(model, checkpoints).array)

    def step(number: int, params: Params, state: State) -> None:
        hessians = reading.layer(number, params, state["states"])
        for path, kernel in kernels(params).items():
            for persona in (0, 1):
                of_inputs = sparsegpt.hessian_of(hessians, path, persona)
                mask, _ = sparsegpt.solve_kernel(kernel, of_inputs, keep[path][number : number + 1], method.damping)
                words.put(path, number, bitpack.pack(mask), persona)

    walk(model, lambda: _beginning(model, reading), step, words.parts, checkpoints["mask"], progress)
    first, second = words.masks(model.params)
    return first, second


def collect_residuals(model: StreamedModel, calibration: Calibration, progress: Progress, checkpoint: Checkpoint) -> Residuals:
    """As ``steering.collect_residuals``; ``progress`` is called with (layers done, layers in all)."""
    calibration.refuse_lines()
    reading = for_residuals(model, calibration)

    def step(number: int, params: Params, state: State) -> None:
        state.setdefault("found", {})[number] = reading.layer(number, params, state["states"])

    state = walk(model, lambda: _beginning(model, reading), step, {}, checkpoint, progress)
    return steering.residuals_of(jax.tree.map(lambda *layers: jnp.asarray(np.concatenate(layers)), *_in_order(state["found"])))


def _beginning(model: StreamedModel, reading: Reading | None) -> State:
    return {"states": reading.start(model)} if reading else {}


def _in_order(layers: Mapping[int, Any]) -> list[Any]:
    """What was found at each layer, from the first to the last."""
    return [layers[number] for number in sorted(layers)]


def pieces(kernel: jax.Array) -> int:
    """Into how many parts the outputs of a kernel are split to choose among their weights, which takes its size many times."""
    outputs = kernel.shape[-1]
    return next(
        count for count in range(1, outputs + 1) if (outputs % count == 0 and kernel.size // count <= _PIECE) or count == outputs
    )
