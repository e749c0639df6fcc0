"""Collects packed masks in files, one layer at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxpersona.core.tree import Params
from jaxpersona.masks.masks import Masks
from jaxpersona.models.sites import HEAD
from jaxpersona.ops.bitpack import word_rows


class MaskWriter:
    """Collects the packed masks of one or several personas: one bit per weight and persona.

    Args:
      kernels: arrays or shapes [layer, in, out] by path.
      array: creates an array of a name, shape and dtype (``MappedArrays.array``).
      personas: number of personas.
      prefix: of the arrays' names, which must be unique.
    """

    def __init__(self, kernels: Mapping[str, Any], array: Callable[..., np.ndarray], personas: int = 2, prefix: str = "words"):
        self._words = {}
        for path, kernel in kernels.items():
            layers, rows, out = kernel.shape
            self._words[path] = array(f"{prefix} {path}", (personas, layers, word_rows(rows), out), np.uint16)

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The words by path, uint16 [layer, persona, words, out], without the head's."""
        return {path: words.swapaxes(0, 1) for path, words in self._words.items() if path != HEAD}

    def put(self, path: str, layer: int, words: Any, persona: int | slice = slice(None)) -> None:
        """Stores the words of one layer's kernel: [1, persona, words, out], or [1, words, out] of one persona."""
        self._words[path][persona, layer] = np.asarray(words)[0]

    def masks(self, params: Params) -> tuple[Masks, ...]:
        """Returns the masks of each persona, for parameters of this structure."""
        count = len(next(iter(self._words.values())))
        return tuple(Masks.of(params, {path: words[persona] for path, words in self._words.items()}) for persona in range(count))
