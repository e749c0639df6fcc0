"""Masks of methods that need no gradient: a layer's statistics, scores, selection and packing, then the next layer's."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona import bitpack, pruning, sparsegpt, steering
from jaxpersona.calibration import Calibration
from jaxpersona.errors import InputError
from jaxpersona.masks import Masks
from jaxpersona.methods import Method, SparseGPT
from jaxpersona.models.sites import HEAD, kernels
from jaxpersona.models.streamed import StreamedModel
from jaxpersona.progress import Progress
from jaxpersona.statistics import Statistics
from jaxpersona.steering import Residuals
from jaxpersona.streaming.reading import for_hessians, for_residuals, for_statistics, joined
from jaxpersona.streaming.words import Words

_PIECE = 2**20  # weights


def prune(
    model: StreamedModel, method: Method, calibration: Calibration, seed: int, progress: Progress
) -> tuple[tuple[Masks, Masks], Statistics | None]:
    """The masks of both personas that ``pruning.prune`` finds, and the statistics they come from, if the method needs any.

    Args:
      seed: of methods that draw.
      progress: called with (layers done, layers in all).

    Raises:
      InputError: when the method's selectors match nothing in this model.
    """
    protocol = calibration.protocol
    flat = jax.eval_shape(lambda params: pruning.masked(params, method, protocol), model.params)
    keep, scoring = pruning.kept_of(flat, method, protocol), pruning.without_budget(method)
    words, found = Words(flat), []
    reading = for_statistics(model, calibration) if method.needs else None

    def choose(path: str, kernel: jax.Array, layer: int) -> None:
        moments, keys = pruning.inputs_of(path, flat[path].shape[0], method, found[-1] if found else None, seed)
        which = slice(layer, layer + 1)
        parts = pieces(kernel) if method.by_output(protocol) else 1
        chosen = [
            np.asarray(pruning.prune_kernel(scoring, protocol, part, keep[path][which], moments, keys[which]))
            for part in jnp.split(kernel, parts, axis=-1)
        ]
        words.put(path, layer, np.concatenate(chosen, axis=-1))

    for number, params in model.layers():
        found += [reading.layer(number, params)] if reading else []
        for path, kernel in kernels(params).items():
            choose(path, kernel, number)
        progress(number + 1, model.config.num_layers)
    if reading and protocol.prune_head:
        found.append(reading.head(model.part("norm")))
    if HEAD in flat:
        choose(HEAD, model.part("lm_head")["lm_head"]["kernel"][None], 0)
    first, second = words.masks(model.params)
    return (first, second), joined(found) if found else None


def prune_by_hessians(
    model: StreamedModel, method: SparseGPT, calibration: Calibration, progress: Progress
) -> tuple[Masks, Masks]:
    """The masks of both personas that ``sparsegpt.prune`` finds; the Hessians of one layer are in memory at a time.

    Args:
      progress: called with (layers done, layers in all).

    Raises:
      InputError: when the method's selectors match nothing in this model, or it changes weights.
    """
    if method.update:
        raise InputError(
            "method.update keeps changed weights, as many as the model has, in memory; leave it out with stream_layers"
        )
    flat, reading = kernels(model.params), for_hessians(model, calibration)
    keep, words = pruning.kept_of(flat, method, calibration.protocol), Words(flat)
    for number, params in model.layers():
        hessians = reading.layer(number, params)
        for path, kernel in kernels(params).items():
            for persona in (0, 1):
                of_inputs = sparsegpt.hessian_of(hessians, path, persona)
                mask, _ = sparsegpt.solve_kernel(kernel, of_inputs, keep[path][number : number + 1], method.damping)
                words.put(path, number, bitpack.pack(mask), persona)
        progress(number + 1, model.config.num_layers)
    first, second = words.masks(model.params)
    return first, second


def collect_residuals(model: StreamedModel, calibration: Calibration, progress: Progress) -> Residuals:
    """As ``steering.collect_residuals``; ``progress`` is called with (layers done, layers in all)."""
    calibration.refuse_lines()
    reading, found = for_residuals(model, calibration), []
    for number, params in model.layers():
        found.append(reading.layer(number, params))
        progress(number + 1, model.config.num_layers)
    return steering.residuals_of(jax.tree.map(lambda *layers: jnp.concatenate(layers), *found))


def pieces(kernel: jax.Array) -> int:
    """Into how many parts the outputs of a kernel are split to choose among their weights, which takes its size many times."""
    outputs = kernel.shape[-1]
    return next(
        count for count in range(1, outputs + 1) if (outputs % count == 0 and kernel.size // count <= _PIECE) or count == outputs
    )
