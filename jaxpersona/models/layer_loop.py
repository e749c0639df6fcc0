"""The layers one after another, from where a run that was killed left them."""

import logging
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxpersona.core.checkpoints import NOTHING, Checkpoint
from jaxpersona.core.progress import Progress, silent
from jaxpersona.models.streamed_model import StreamedModel
from jaxpersona.models.weights import Params

State = dict[str, Any]
"""What moves on from layer to layer: a nested dictionary of arrays, without empty ones."""
Parts = Mapping[str, np.ndarray]
"""Arrays [layer, ...] by name."""
_log = logging.getLogger(__name__)


def walk(
    model: StreamedModel,
    start: Callable[[], State],
    step: Callable[[int, Params, State], None],
    filled: Parts,
    checkpoint: Checkpoint = NOTHING,
    progress: Progress = silent,
    backwards: bool = False,
    about: float = 0.0,
) -> State:
    """Visits every layer and returns the state after the last.

    A checkpoint holds the state and, of each array in ``filled``, a checksum of every layer's part that is done: what is as large
    as the model stays where it is, in its file, and is written once.

    Args:
      start: gives the state before the first layer.
      step: called with number and parameters of a layer, and the state, which it changes.
      filled: arrays in files that ``Scratch.array`` finds again, of which each step fills its layer's part and no other.
      checkpoint: keeps how far this is.
      progress: called with (layers done, layers in all).
      backwards: from the last layer to the first.
      about: a number this depends on besides; what was kept with another does not count.
    """
    layers = model.config.num_layers
    kept = _kept(checkpoint, filled, about) or {"done": 0, "state": start()}
    done, state = int(kept["done"]), kept.get("state", {})
    sums = {name: np.array(kept["sums"][name]) if done else np.zeros(layers, np.uint32) for name in filled}
    model.remember(kept.get("samples", {}))
    del kept
    if done:
        progress(done, layers)
    for number, params in model.layers(backwards, done):
        done += 1
        step(number, params, state)
        for name, array in filled.items():
            sums[name][number] = _checksum(array[number])
        keep = checkpoint.save if done == layers else checkpoint.offer
        keep({"done": done, "about": about, "state": state, "sums": sums, "samples": model.samples})
        progress(done, layers)
    return state


def _kept(checkpoint: Checkpoint, filled: Parts, about: float) -> dict[str, Any] | None:
    """What was kept, if it is of the same and the arrays are as they were then."""
    kept = checkpoint.load()
    if kept is None or kept["about"] != about:
        return None
    for name, array in filled.items():
        sums = kept["sums"][name]
        # layers that are not done have the checksum 0, and nothing else does by more than a coincidence
        if any(seen and seen != _checksum(array[number]) for number, seen in enumerate(sums)):
            _log.warning("temporary file of %s is damaged; what it held is computed anew", name)
            return None
    return kept


def _checksum(part: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
