"""Packed masks gathered on the host, a layer at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpersona.bitpack import word_rows
from jaxpersona.masks import Masks, Params


class Words:
    """Packed words of one persona or several, to be filled in: one bit a weight and persona.

    Args:
      kernels: by path, or what has their shape, [layer, in, out].
    """

    def __init__(self, kernels: Mapping[str, Any], personas: int = 2):
        self._words = {}
        for path, kernel in kernels.items():
            layers, rows, out = kernel.shape
            self._words[path] = np.zeros((layers, personas, word_rows(rows), out), np.uint16)

    def put(self, path: str, layer: int, words: Any, persona: int | slice = slice(None)) -> None:
        """Keeps the words of one layer's kernel, [1, persona, words, out], or of one persona [1, words, out]."""
        self._words[path][layer, persona] = np.asarray(words)[0]

    def masks(self, params: Params) -> tuple[Masks, ...]:
        """The masks of each persona, for parameters of this structure."""
        count = next(iter(self._words.values())).shape[1]
        return tuple(
            Masks.of(params, {path: words[:, persona] for path, words in self._words.items()}) for persona in range(count)
        )
