"""A loaded language model as a value: configuration, parameters, tokenizer, and the function they go through."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import make_mesh, mesh_of, to_host
from jaxpersona.core.progress import Progress, silent
from jaxpersona.models import tokenizer as tokenizers
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.cpu import untied_head
from jaxpersona.models.cpu.bfloat16_bits import compact
from jaxpersona.models.cpu.unstacked import apart
from jaxpersona.models.decoder import Collect, Decoder
from jaxpersona.models.gguf import GGUFSource
from jaxpersona.models.precision import Dtype, pick_dtypes
from jaxpersona.models.resolve import resolve
from jaxpersona.models.safetensors import SafetensorsSource
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import Params, TensorSource, load_params


@dataclasses.dataclass(frozen=True)
class Model:
    """A language model whose parameters never change; a persona is a mask over them.

    Attributes:
      name: the name it was loaded by.
      origin: in words, where its files came from.
      config: shape and variant.
      params: parameter pytree; kernels are [layer, in, out].
      tokenizer: a Transformers tokenizer.
      eos_ids: token ids that end a generation.
      batch_dtype: of what is multiplied where batches of texts are read; None is that of the parameters.
      quick_forms: whether text is generated from copies of the parameters in a form that a CPU reads quickly (``compact.py`` for
        one text, ``apart.py``, in ``batch_dtype``, for several).
    """

    name: str
    origin: str
    config: ModelConfig
    params: Params
    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]
    batch_dtype: Any = None
    quick_forms: bool = False

    @property
    def mesh(self) -> Mesh | None:
        """The mesh the parameters lie on; None on a single device."""
        return mesh_of(self.params)

    @property
    def decoder(self) -> Decoder:
        """The Linen module; hashable, so it can be closed over or passed as a static argument."""
        return Decoder(self.config)

    def batch_decoder(self, collect: Collect | None = None) -> Decoder:
        """The decoder that reads batches of texts, with products in ``batch_dtype``; ``collect`` as in ``Decoder``."""
        return Decoder(self.config, collect, products=self.batch_dtype)

    def with_head(self, params: Mapping[str, Any], collect: Collect | None = None) -> tuple[Params, Decoder]:
        """Parameters, the model's own or masked ones, and the ``batch_decoder`` that forms logits of many tokens from them."""
        decoder = self.batch_decoder(collect)
        return (
            (untied_head.with_head(params, self.batch_dtype), untied_head.untied(decoder))
            if self.quick_forms
            else (dict(params), decoder)
        )

    @functools.cached_property
    def compact_params(self) -> Params:
        """The parameters, compact."""
        return compact(self.params)

    @functools.cached_property
    def apart_params(self) -> Params:
        """The parameters, apart."""
        return apart(self.params, self.batch_dtype)

    def apply(self, variables: dict[str, Any], tokens: jax.Array, **inputs: Any) -> Any:
        """``decoder.apply``: logits [B, T, vocab] for ``{"params": model.params}`` and tokens int [B, T]."""
        return self.decoder.apply(variables, tokens, **inputs)

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, whatever dtype they were loaded in: a hash over a sample of every maskable kernel."""
        return fingerprint(self.params)


def fingerprint(params: Params) -> str:
    """SHA-256 over path, shape and a regular sample (up to 17 x 17 a layer, as bfloat16) of every maskable kernel."""
    flat = kernels(params)
    return digest_of({path: kernel.shape for path, kernel in flat.items()}, {path: sample(flat[path]) for path in flat})


def sample(kernel: Any) -> np.ndarray:
    """Up to 17 x 17 numbers of every layer of a kernel [layer, in, out], as bfloat16."""
    rows, columns = max(1, kernel.shape[1] // 16), max(1, kernel.shape[2] // 16)
    return to_host(kernel[:, ::rows, ::columns].astype(jnp.bfloat16))


def digest_of(shapes: Mapping[str, tuple[int, ...]], samples: Mapping[str, np.ndarray]) -> str:
    """The fingerprint of kernels of these shapes and samples, by path."""
    digest = hashlib.sha256()
    for path, shape in sorted(shapes.items()):
        digest.update(f"{path} {shape}".encode() + samples[path].tobytes())
    return digest.hexdigest()


def load_model(
    name: str, dtype: Dtype = "auto", progress: Progress = silent, mesh: Mesh | None = None, found: "Found | None" = None
) -> Model:
    """Loads a model of the Llama family.

    Args:
      name: ``smollm2-135m-instruct``, a Hugging Face folder, a ``.gguf`` file, or a hub repository ``owner/name``.
      dtype: of the parameters and the computation; ``auto`` as in ``precision.pick_dtypes``.
      progress: called with (parameter arrays loaded, arrays in all).
      mesh: from ``distributed.make_mesh``; default one over all devices, each with the whole model. Every device is given its
        shards of the parameters and nothing else.
      found: what ``find`` said of ``name``, where it was asked before.

    Raises:
      InputError: when the model cannot be found, is of another architecture, or its files are damaged.
    """
    found = found or find(name)
    number, batch_dtype = pick_dtypes(dtype)
    mesh = mesh or make_mesh()
    quick_forms = dtype == "auto" and jax.default_backend() == "cpu" and mesh.size == 1
    params = load_params(found.source, found.config, number, progress, mesh if mesh.size > 1 else None)
    return Model(name, found.origin, found.config, params, found.tokenizer, found.eos_ids, batch_dtype, quick_forms)


class Found(NamedTuple):
    """What a model's files say before its weights are read."""

    path: pathlib.Path
    source: TensorSource
    hf: dict[str, Any]
    origin: str
    config: ModelConfig
    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]


def find(name: str) -> Found:
    """Opens the files of model ``name``; raises as ``load_model``."""
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
    return Found(resolved.path, source, hf, resolved.origin, config, tokenizer, eos_ids)


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
