"""Reads tensors of a Hugging Face folder, one ``model.safetensors`` or shards with an index, through memory maps."""

import json
import pathlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxpersona.core import files, json_text
from jaxpersona.core.errors import InputError
from jaxpersona.models.quantised import FLOAT8, dequantise, layout_name, scale_names

T = TypeVar("T")
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_EMBEDDING, _HEAD = "embed_tokens.weight", "lm_head.weight"
_FLOATS = ("F64", "F32", "F16", "BF16")
_PLAIN = re.compile(r"(F|BF|I|U)(8|16|32|64)|BOOL")  # types that the library gives as NumPy arrays of real numbers
# Buffers of old Transformers versions, and what belongs to quantised weights besides their scales.
_WITHOUT_EFFECT = re.compile(r"rotary_emb\.inv_freq|self_attn\.(masked_)?bias|_proj\.(input_scale|weight_format)")


class Stored(NamedTuple):
    """A tensor in a file: full name, dtype in safetensors' notation, shape, and size in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


class SafetensorsSource:
    """Reads tensors by their Hugging Face names, one at a time, without loading the rest.

    Int8 and float8 weights are dequantised to float32.

    Args:
      folder: of the files.
      quantization: the ``quantization_config`` of config.json, which has the size of blocks that share a scale.

    Raises:
      InputError: if the folder has no safetensors files, a shard named by the index is missing, or a file is damaged.
    """

    def __init__(self, folder: pathlib.Path, quantization: Mapping[str, Any] | None = None):
        self.folder = folder
        self._block = (quantization or {}).get("weight_block_size")
        self._files, self._headers = {}, {}
        self._file_of = self._locate()
        self._prefix = self._find_prefix()

    def _locate(self) -> dict[str, str]:
        index = self.folder / INDEX
        if (self.folder / SINGLE).is_file():  # as in Transformers, it comes before an index
            return dict.fromkeys(self._open(SINGLE).keys(), SINGLE)
        if not index.is_file():
            raise InputError(f"{self.folder}: neither {SINGLE} nor {INDEX} is there; convert the weights to safetensors")
        try:
            file_of = {name: str(file) for name, file in json_text.parse(index.read_text())["weight_map"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{index}: damaged, no weight_map can be read ({error}); download it again") from None
        missing = sorted({file for file in file_of.values() if not files.inside(self.folder, file).is_file()})
        if missing:
            raise InputError(f"{self.folder}: shard {missing[0]} is missing ({len(missing)} missing in all); download it again")
        return file_of

    def _find_prefix(self) -> str:
        """Returns what precedes ``embed_tokens``: Gemma 3 nests the language model in another module."""
        found = [name.removesuffix(_EMBEDDING) for name in self._file_of if name.endswith(_EMBEDDING)]
        if len(found) > 1 and "model." not in found:
            raise InputError(f"{self.folder}: holds several models ({', '.join(found)}); give a folder with one")
        return found[0] if len(found) == 1 else "model." if found else ""

    def _open(self, file: str):
        if file not in self._files:
            try:
                self._files[file] = safe_open(self.folder / file, framework="numpy")
            except OSError as error:
                raise InputError(f"{self.folder / file}: cannot be read ({error.strerror or error})") from None
            except SafetensorError as error:
                raise InputError(f"{self.folder / file}: damaged or truncated ({error}); download it again") from None
        return self._files[file]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of tensor ``name``, given without the module prefix; raises InputError as ``read``."""
        full = self.full_name(name)
        if self._dtype(full) not in _FLOATS:
            self._scale_of(full)
        return self._get(full, lambda file, full: tuple(file.get_slice(full).get_shape()))

    def read(self, name: str, part: tuple[slice, ...] = ()) -> np.ndarray:
        """Returns the tensor ``name``, (out, in), given without the module prefix (``layers.0.mlp.up_proj.weight``).

        Args:
          name: of the tensor.
          part: index of the part to read; empty reads the whole tensor.

        Raises:
          InputError: if the tensor is missing, the file is damaged, or numbers have no scale that gives them a meaning.
        """
        full = self.full_name(name)
        if self._dtype(full) not in _FLOATS:
            return self.dequantised(full)[part]
        return self._get(full, lambda file, full: file.get_slice(full)[part] if part else file.get_tensor(full))

    def _dtype(self, full: str) -> str:
        return self._get(full, lambda file, full: file.get_slice(full).get_dtype())

    def is_scaled(self, full: str) -> bool:
        """Returns whether the tensor with that full name holds int8 or float8 numbers with a scale beside them."""
        return self._dtype(full) in ("I8", *FLOAT8) and any(name in self._file_of for name in scale_names(full))

    def _scale_of(self, full: str) -> str:
        """Returns the full name of the scale of a weight that does not hold plain floating-point numbers."""
        scales = [name for name in scale_names(full) if name in self._file_of]
        if not self.is_scaled(full) or len(scales) != 1:
            found = " and ".join(scales) or "no scale"
            raise InputError(f"{self._where(full)} has {found} beside it and cannot be read; give the model before quantisation")
        layout = layout_name(full)
        if layout in self._file_of and self.values(layout).any():  # 0 is by row
            raise InputError(f"{self._where(full)} has a layout for GPUs; save it with a newer bitsandbytes, or not quantised")
        return scales[0]

    def _where(self, full: str) -> str:
        return f"{self.folder / self._file_of[full]}: tensor {full} of type {self._dtype(full)}"

    def dequantised(self, full: str) -> np.ndarray:
        """Returns the int8 or float8 tensor with that full name times its scale, float32; raises InputError as ``read``."""
        scale = self._scale_of(full)
        try:
            return dequantise(self.values(full), self.values(scale), self._block, scale.endswith(".SCB"))
        except ValueError as error:
            raise InputError(f"{self._where(full)} does not fit its scale {scale} ({error}); use another file") from None

    def full_name(self, name: str) -> str:
        """Returns the stored name of tensor ``name``, given without the module prefix."""
        if name.startswith("lm_head"):  # beside the decoder, or beside the module that holds it
            nested = self._prefix.removesuffix("model.") + name
            return nested if nested in self._file_of else name
        return self._prefix + name

    def tensors(self) -> Iterator[Stored]:
        """Yields every tensor in the folder."""
        return map(self.stored, self._file_of)

    def stored(self, full: str) -> Stored:
        """Returns name, dtype, shape and size of the tensor with that full name."""
        _, about = self._get(full, lambda file, full: self._header(full))
        start, end = about["data_offsets"]
        return Stored(full, about["dtype"], tuple(about["shape"]), end - start)

    def raw(self, full: str) -> np.ndarray:
        """Returns the bytes of the tensor with that full name, uint8 [size], memory-mapped."""
        first, about = self._get(full, lambda file, full: self._header(full))
        start, end = about["data_offsets"]
        if start == end:  # cannot be mapped
            return np.empty(0, np.uint8)
        return np.memmap(self.folder / self._file_of[full], np.uint8, "r", first + start, (end - start,))

    def values(self, full: str) -> np.ndarray:
        """Returns the tensor with that full name as stored.

        Raises:
          InputError: if it holds complex numbers, or such that are narrower than a byte.
        """
        stored = self.stored(full)
        if stored.dtype in FLOAT8:
            return self.raw(full).view(FLOAT8[stored.dtype]).reshape(stored.shape)
        if not _PLAIN.fullmatch(stored.dtype):
            raise InputError(f"{self._where(full)} cannot be read; give the model before quantisation")
        return self._get(full, lambda file, full: file.get_tensor(full))

    def scales(self) -> set[str]:
        """Returns the full names of the scales of int8 and float8 weights, and of the layouts of these."""
        weights = [name for name in self._file_of if self.is_scaled(name)]
        return {about for name in weights for about in (*scale_names(name), layout_name(name))} & self._file_of.keys()

    def unread(self, names: Collection[str]) -> list[str]:
        """Returns full names of tensors of the decoder that would change what it computes, but are none of ``names``."""
        known = {self.full_name(name) for name in names} | self.scales()
        parts = tuple(f"{self._prefix}{part}" for part in ("layers.", "embed_tokens.", "norm."))
        found = [name for name in self._file_of if name.startswith(parts) and name not in known]
        head = self.full_name(_HEAD)
        if head in self._file_of and head not in known and not self._is_embedding(head):
            raise InputError(f"{self.folder}: {head} is not the embedding; set tie_word_embeddings to false in config.json")
        return sorted(name for name in found if not _WITHOUT_EFFECT.search(name))

    def _is_embedding(self, head: str) -> bool:
        embedding = self.full_name(_EMBEDDING)
        same_type = self.stored(head)[1:] == self.stored(embedding)[1:]
        return same_type and np.array_equal(self.raw(head), self.raw(embedding))

    def _header(self, full: str) -> tuple[int, dict[str, Any]]:
        """Returns where a tensor's file starts to hold data, and the tensor's entry in the header, which is known to be sound."""
        file = self._file_of[full]
        if file not in self._headers:
            with (self.folder / file).open("rb") as opened:
                size = int.from_bytes(opened.read(8), "little")
                self._headers[file] = 8 + size, json.loads(opened.read(size))
        first, header = self._headers[file]
        if full not in header:
            raise SafetensorError(f"File does not contain tensor {full}")
        return first, header[full]

    def _get(self, full: str, get: Callable[[Any, str], T]) -> T:
        if full not in self._file_of:
            raise InputError(f"{self.folder}: tensor {full} is missing; the weights do not fit config.json")
        file = self._file_of[full]
        try:
            return get(self._open(file), full)
        except SafetensorError as error:
            raise InputError(f"{self.folder / file}: {error}, though {INDEX} says so; download it again") from None
