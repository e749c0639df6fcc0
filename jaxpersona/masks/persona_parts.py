"""The parts of a persona that belong to one layer, or to the head."""

import dataclasses
from typing import Any

import jax

from jaxpersona.masks.masks import Masks
from jaxpersona.masks.weight_update import UpdatedWeights
from jaxpersona.models.sites import HEAD


def in_layer(persona: Any, number: int) -> Any:
    """A persona's part in layer ``number``: of every array [layer, ...] the one of that layer, [1, ...]."""
    if isinstance(persona, Masks):
        persona = _with_paths(persona, [path for path in persona.words if path != HEAD])
    return jax.tree.map(lambda leaf: leaf[number : number + 1], persona)


def at_head(persona: Any) -> Masks | None:
    """The masks of the head alone; None where it is left whole."""
    return _with_paths(persona, [HEAD]) if isinstance(persona, Masks) and HEAD in persona.words else None


def of_kernel(persona: Any, path: str, layer: int | None) -> Any:
    """A persona's part in one kernel, of one layer (None: the head); None where it has none."""
    if isinstance(persona, UpdatedWeights):
        masks = of_kernel(persona.masks, path, None)
        persona = masks and dataclasses.replace(persona, masks=masks, kernels={path: persona.kernels[path]})
    else:
        persona = _with_paths(persona, [path]) if path in persona.words else None
    return persona if layer is None else jax.tree.map(lambda leaf: leaf[layer : layer + 1], persona)


def _with_paths(masks: Masks, paths: list[str]) -> Masks:
    words = {path: masks.words[path] for path in paths}
    return dataclasses.replace(masks, words=words, rows=tuple((path, rows) for path, rows in masks.rows if path in words))
