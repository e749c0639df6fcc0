"""Writes a model under a persona as a Hugging Face folder, one tensor in memory at a time."""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.masks.masks import Masks
from jaxpersona.masks.weight_update import WeightUpdate
from jaxpersona.models.decoder import parameter_shapes
from jaxpersona.models.model_files import ModelFiles
from jaxpersona.models.safetensors import INDEX, SINGLE, SafetensorsSource
from jaxpersona.models.weights import hf_name

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_COPIED = ("*.json", "*.jinja", "tokenizer*")
_MODEL_TYPES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of the written folder.

    Attributes:
      name: full name in Transformers.
      dtype: name in safetensors files.
      shape: as stored, (out, in).
      path: path of the decoder's parameter; None if the decoder has none.
      layer: layer of that parameter; None outside the layers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: str | None
    layer: int | None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape)) * _BYTES[self.dtype]


def write_folder(
    target: pathlib.Path,
    files: ModelFiles,
    persona: Masks | WeightUpdate | None = None,
    gamma: float = 0.0,
    shard_bytes: int = 5 * 10**9,
    stage: Stage = QUIET,
) -> None:
    """Writes weights, configuration and tokenizer of a model under a persona.

    Weights keep the dtype of the model's files; those of a GGUF file become float32. The folder appears complete or not at all.

    Args:
      target: the folder to write; must not exist or be empty.
      files: the model's files, from ``open_files``.
      persona: masks, alone or with updated weights; None writes the base model.
      gamma: fraction of its value that a removed weight keeps.
      shard_bytes: maximum bytes of tensors per weight file.
      stage: progress counts tensors.

    Raises:
      InputError: if ``target`` has files or cannot be written, the disk is too small, or Transformers has no equivalent of the
        model's rope.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"output_dir {target} exists and is not empty; choose another")
    entries, done = _entries(files), 0

    def read(entry: Entry) -> np.ndarray:
        nonlocal done
        done += 1
        stage.progress(done, len(entries))
        return _under(persona, entry, _read(files, entry), gamma)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(target.parent, sum(entry.size for entry in entries))
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as staging:
            folder = pathlib.Path(staging) / "model"
            folder.mkdir()
            _write_description(folder, files)
            _write_weights(folder, _shards(entries, shard_bytes), read)
            folder.rename(target)
    except OSError as error:
        raise InputError(f"output_dir {target} cannot be written ({error.strerror or error}); choose another") from None


def _entries(files: ModelFiles) -> list[Entry]:
    """Returns the tensors to write: all tensors of a safetensors folder, or the decoder's parameters of a GGUF file."""
    parameters = []
    for path, leaf in flatten(parameter_shapes(files.config)).items():
        parameters += [(path, layer) for layer in (range(leaf.shape[0]) if path.startswith("layers/") else [None])]
    source = files.source
    if isinstance(source, SafetensorsSource):
        known = {source.full_name(hf_name(*parameter)): parameter for parameter in parameters}
        return [Entry(*tensor, *known.get(tensor[0], (None, None))) for tensor in source.tensors()]
    names = [hf_name(*parameter) for parameter in parameters]
    full = [name if name.startswith("lm_head") else f"model.{name}" for name in names]
    shapes = [source.shape(name) for name in names]
    return [Entry(name, "F32", shape, *parameter) for name, shape, parameter in zip(full, shapes, parameters, strict=True)]


def _read(files: ModelFiles, entry: Entry) -> np.ndarray:
    if isinstance(files.source, SafetensorsSource):
        return files.source.get(entry.name)
    assert entry.path is not None
    return files.source.read(hf_name(entry.path, entry.layer))


def _under(persona: Masks | WeightUpdate | None, entry: Entry, value: np.ndarray, gamma: float) -> np.ndarray:
    """Returns the tensor under the persona, in the tensor's dtype."""
    part = None if persona is None or entry.path is None else persona.at_kernel(entry.path, entry.layer)
    if part is None or entry.path is None:
        return value
    kernel = jnp.asarray(value.T if entry.layer is None else value.T[None])
    changed = np.asarray(flatten(part.apply(unflatten({entry.path: kernel}), gamma))[entry.path])
    return changed.reshape(value.T.shape).T


def _check_space(folder: pathlib.Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise InputError(f"no space left on the disk of {folder}: {needed / 1e9:.1f} GB are needed; free some and run again")


def _shards(entries: Sequence[Entry], shard_bytes: int) -> list[list[Entry]]:
    """Splits the tensors, in order, into shards of at most ``shard_bytes`` and at least one tensor."""
    shards: list[list[Entry]] = [[]]
    for entry in entries:
        if shards[-1] and sum(other.size for other in shards[-1]) + entry.size > shard_bytes:
            shards.append([])
        shards[-1].append(entry)
    return shards


def _write_weights(folder: pathlib.Path, shards: Sequence[Sequence[Entry]], read: Callable[[Entry], np.ndarray]) -> None:
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    names = names if len(shards) > 1 else [SINGLE]
    for name, entries in zip(names, shards, strict=True):
        _write_shard(folder / name, entries, read)
    if len(shards) > 1:
        total = sum(entry.size for entries in shards for entry in entries)
        file_of = {entry.name: name for name, entries in zip(names, shards, strict=True) for entry in entries}
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": file_of}, indent=1) + "\n")


def _write_shard(path: pathlib.Path, entries: Sequence[Entry], read: Callable[[Entry], np.ndarray]) -> None:
    """Writes a safetensors file: header length, header, and the tensors end to end.

    The safetensors library's own writer needs all tensors in memory at once.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for entry in entries:
        header[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [start, start + entry.size]}
        start += entry.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            file.write(np.ascontiguousarray(read(entry)).reshape(-1).view(np.uint8).data)


def _write_description(folder: pathlib.Path, files: ModelFiles) -> None:
    """Writes configuration and tokenizer: copies those of a folder, converts those of a GGUF file for Transformers."""
    if files.path.is_dir():
        for file in {file for pattern in _COPIED for file in files.path.glob(pattern) if file.is_file()}:
            if file.name != INDEX:
                shutil.copyfile(file, folder / file.name)
        return
    if files.config.rope.kind == "frequency_factors":
        raise InputError(f"{files.path}: Transformers cannot be told this file's rope; give a Hugging Face folder")
    ids = {"bos_token_id": files.tokenizer.bos_token_id, "eos_token_id": list(files.eos_ids)}
    config = {**files.hf, "model_type": _MODEL_TYPES[files.config.architecture], "dtype": "float32", **ids}
    files.tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=1) + "\n")
