"""Runs the layers of a streamed model one after another, resumably."""

import logging
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.models.streamed_model import StreamedModel

State = dict[str, Any]
"""State passed from layer to layer: a nested dictionary of arrays, without empty dictionaries."""
Parts = Mapping[str, np.ndarray]
"""Arrays [layer, ...] by name."""
_log = logging.getLogger(__name__)


def run_layers(
    model: StreamedModel,
    start: Callable[[], State],
    step: Callable[[int, Params, State], None],
    filled: Parts,
    stage: Stage = QUIET,
    backwards: bool = False,
    key: float = 0.0,
) -> State:
    """Calls ``step`` for every layer and returns the state after the last.

    A checkpoint holds the state and, of each array in ``filled``, a checksum of every finished layer's part: arrays as large as
    the model stay in their files and are written once.

    Args:
      start: returns the state before the first layer.
      step: called with number and parameters of a layer, and the state, which it changes.
      filled: arrays in files that ``MappedArrays.array`` finds again; each step fills its layer's part and no other.
      stage: progress counts layers.
      backwards: from the last layer to the first.
      key: checkpoints saved under another key are ignored.
    """
    layers = model.config.num_layers
    saved = _load(stage, filled, key) or {"done": 0, "state": start()}
    done, state = int(saved["done"]), saved.get("state", {})
    sums = {name: np.array(saved["sums"][name]) if done else np.zeros(layers, np.uint32) for name in filled}
    model.add_samples(saved.get("samples", {}))
    del saved
    stage.progress(done, layers)
    for number, params in model.layers(backwards, done):
        done += 1
        step(number, params, state)
        for name, array in filled.items():
            sums[name][number] = _checksum(array[number])
        keep = stage.save if done == layers else stage.offer
        keep({"done": done, "key": key, "state": state, "sums": sums, "samples": model.samples})
        stage.progress(done, layers)
    return state


def in_order(layers: Mapping[int, Any]) -> list[Any]:
    """Returns what was collected at each layer, from the first to the last."""
    return [layers[number] for number in sorted(layers)]


def _load(stage: Stage, filled: Parts, key: float) -> dict[str, Any] | None:
    """Returns the checkpoint; None if it has another key or the arrays have changed."""
    saved = stage.load()
    if saved is None or saved["key"] != key:
        return None
    for name, array in filled.items():
        sums = saved["sums"][name]
        # unfinished layers have checksum 0, which others have only by chance
        if any(seen and seen != _checksum(array[number]) for number, seen in enumerate(sums)):
            _log.warning("temporary file of %s is damaged; its stage restarts", name)
            return None
    return saved


def _checksum(part: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
