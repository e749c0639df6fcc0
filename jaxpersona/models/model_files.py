"""The files of a model: what they say before any weight is read."""

import json
import pathlib
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError
from jaxpersona.models import tokenizer as tokenizers
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.gguf import GGUFSource
from jaxpersona.models.resolve import resolve
from jaxpersona.models.safetensors import SafetensorsSource
from jaxpersona.models.weights import TensorSource


class ModelFiles(NamedTuple):
    """Opened weight files, configuration and tokenizer."""

    path: pathlib.Path
    source: TensorSource
    hf: dict[str, Any]
    origin: str
    config: ModelConfig
    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]


def open_files(name: str) -> ModelFiles:
    """Opens the files of model ``name``.

    Raises:
      InputError: when the model cannot be found, is of another architecture, or its files are damaged.
    """
    resolved = resolve(name)
    if resolved.path.suffix == ".gguf":
        source = GGUFSource(resolved.path)
        hf = source.hf_config()
        config, tokenizer = ModelConfig.from_hf(hf), tokenizers.from_gguf(source)
    else:
        source = SafetensorsSource(resolved.path)
        hf = _read_json(resolved.path / "config.json")
        config, tokenizer = ModelConfig.from_hf(hf), tokenizers.from_folder(resolved.path)
    eos_ids = _eos_ids(resolved.path, hf, tokenizer)
    return ModelFiles(resolved.path, source, hf, resolved.origin, config, tokenizer, eos_ids)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error}); download it again") from None


def _eos_ids(path: pathlib.Path, hf: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """All ids that end a turn: chat models often list more in generation_config.json than the tokenizer names."""
    listed = hf.get("eos_token_id")
    if (path / "generation_config.json").is_file():
        listed = _read_json(path / "generation_config.json").get("eos_token_id", listed)
    listed = listed if isinstance(listed, list) else [listed]
    return tuple(sorted({index for index in [*listed, tokenizer.eos_token_id] if index is not None}))
