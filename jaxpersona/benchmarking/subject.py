"""What both sides of a comparison work on: the same weights as a Hugging Face folder, and the same texts."""

import dataclasses
import json
import pathlib
import tempfile
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jaxpersona import files
from jaxpersona.data.pairs import Pair
from jaxpersona.data.text import chat_text
from jaxpersona.errors import InputError
from jaxpersona.models.gguf import GGUFSource
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.resolve import resolve
from jaxpersona.models.weights import hf_name
from jaxpersona.tree import flatten

_MODEL_TYPES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model as both sides read it.

    Attributes:
      path: what ours loads, a GGUF file or a folder.
      folder: what PyTorch loads, a folder with the same weights.
      model: the model, for its tokenizer.
    """

    path: str
    folder: str
    model: Model


def prepare(name: str) -> Subject:
    """Loads a model and, if it is a GGUF file, writes the same weights as a folder into the cache, once.

    Raises:
      InputError: when there is no such model, or a folder cannot say what it is.
    """
    path = resolve(name).path
    model = load_model(str(path), "float32")
    if path.suffix != ".gguf":
        return Subject(str(path), str(path), model)
    folder = files.cache_folder() / "benchmark" / model.fingerprint[:16]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
            written = pathlib.Path(staging) / "model"
            _write_folder(written, model, GGUFSource(path).hf_config())
            written.rename(folder)
    return Subject(str(path), str(folder), model)


def _write_folder(folder: pathlib.Path, model: Model, config: dict[str, Any]) -> None:
    if config["rope_parameters"]["rope_type"] == "frequency_factors":
        raise InputError(f"{model.name}: Transformers cannot be told this file's rope; give a Hugging Face folder")
    model.tokenizer.save_pretrained(folder)
    config = {**config, "model_type": _MODEL_TYPES[config["architectures"][0]], "dtype": "float32"}
    ids = {"bos_token_id": model.tokenizer.bos_token_id, "eos_token_id": list(model.eos_ids)}
    (folder / "config.json").write_text(json.dumps({**config, **ids}))
    save_file(hf_tensors(model), folder / "model.safetensors", {"format": "pt"})


def hf_tensors(model: Model) -> dict[str, np.ndarray]:
    """The parameters by their full Hugging Face names, matrices (out, in)."""
    tensors = {}
    for path, leaf in flatten(model.params).items():
        value = np.asarray(leaf)
        value = value.swapaxes(-1, -2) if path.endswith("kernel") else value
        layers = dict(enumerate(value)) if path.startswith("layers/") else {None: value}
        for layer, tensor in layers.items():
            name = hf_name(path, layer)
            tensors[name if name.startswith("lm_head") else f"model.{name}"] = np.ascontiguousarray(tensor)
    return tensors


def texts(model: Model, pair: Pair) -> tuple[str, str]:
    """Both answers of a pair in the model's chat template."""
    first, second = (
        chat_text(model.tokenizer, pair.prompt, pair.system, answer) for answer in (pair.matching, pair.not_matching)
    )
    return first, second
