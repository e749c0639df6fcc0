"""Reads tensors of a Hugging Face folder, one ``model.safetensors`` or shards with an index, through memory maps."""

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxpersona.core.errors import InputError

T = TypeVar("T")
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_EMBEDDING = "embed_tokens.weight"


class SafetensorsSource:
    """Reads tensors by their Hugging Face names, one at a time, without loading the rest.

    Raises:
      InputError: if the folder has no safetensors files, a shard named by the index is missing, or a file is damaged.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._files = {}
        self._file_of = self._locate()
        # Gemma 3 nests the language model in another module, so the prefix is whatever precedes ``embed_tokens``.
        self._prefix = next((n.removesuffix(_EMBEDDING) for n in self._file_of if n.endswith(_EMBEDDING)), "")

    def _locate(self) -> dict[str, str]:
        index = self.folder / INDEX
        if not index.is_file():
            if not (self.folder / SINGLE).is_file():
                raise InputError(f"{self.folder}: neither {SINGLE} nor {INDEX} is there; convert the weights to safetensors")
            return dict.fromkeys(self._open(SINGLE).keys(), SINGLE)
        try:
            file_of = json.loads(index.read_text())["weight_map"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{index}: damaged, no weight_map can be read ({error}); download it again") from None
        missing = sorted({file for file in file_of.values() if not (self.folder / file).is_file()})
        if missing:
            raise InputError(f"{self.folder}: shard {missing[0]} is missing ({len(missing)} missing in all); download it again")
        return file_of

    def _open(self, file: str):
        if file not in self._files:
            try:
                self._files[file] = safe_open(self.folder / file, framework="numpy")
            except SafetensorError as error:
                raise InputError(f"{self.folder / file}: damaged or truncated ({error}); download it again") from None
        return self._files[file]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of tensor ``name``, given without the module prefix."""
        return self._get(self.full_name(name), lambda file, full: tuple(file.get_slice(full).get_shape()))

    def read(self, name: str, part: tuple[slice, ...] = ()) -> np.ndarray:
        """Returns the tensor ``name`` as stored, (out, in), given without the module prefix (``layers.0.mlp.up_proj.weight``).

        Args:
          name: of the tensor.
          part: index of the part to read; empty reads the whole tensor.

        Raises:
          InputError: if the tensor is missing or the file is damaged.
        """
        return self._get(self.full_name(name), lambda file, full: file.get_slice(full)[part] if part else file.get_tensor(full))

    def full_name(self, name: str) -> str:
        """Returns the stored name of tensor ``name``, given without the module prefix."""
        full = name if name.startswith("lm_head") else self._prefix + name
        if full not in self._file_of and name.startswith("lm_head"):
            full = next((n for n in self._file_of if n.endswith(name)), full)
        return full

    def tensors(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Yields full name, dtype (in safetensors' notation) and shape of every tensor in the folder."""
        for full in self._file_of:
            yield self._get(
                full, lambda file, full: (full, file.get_slice(full).get_dtype(), tuple(file.get_slice(full).get_shape()))
            )

    def get(self, full: str) -> np.ndarray:
        """Returns the tensor with that full name."""
        return self._get(full, lambda file, full: file.get_tensor(full))

    def _get(self, full: str, get: Callable[[Any, str], T]) -> T:
        if full not in self._file_of:
            raise InputError(f"{self.folder}: tensor {full} is missing; the weights do not fit config.json")
        file = self._file_of[full]
        try:
            return get(self._open(file), full)
        except SafetensorError as error:
            raise InputError(f"{self.folder / file}: {error}, though {INDEX} says so; download it again") from None
