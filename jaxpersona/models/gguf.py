"""Reads GGUF files of the Llama family: configuration, and dequantised tensors under their Hugging Face names."""

import math
import pathlib
from collections.abc import Collection
from typing import Any

import gguf
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.models.gguf_parts import read_parts

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_JOINED_ROWS = 16
_ROPE_FACTORS = "rope_freqs.weight"
_USED = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
}
_WITHOUT_EFFECT = {
    "vocab_size",
    "tensor_data_layout",
    "pooling_type",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
}


class GGUFSource:
    """A GGUF file or all parts of a split one, memory-mapped; tensors are dequantised to float32 one at a time.

    Raises:
      InputError: for a damaged file, a missing part, an architecture other than llama, qwen2 or qwen3, or no model at all.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.fields, self._tensors = read_parts(path)
        kind = self.field("general.type", "model")
        if kind != "model":
            raise InputError(f"{path}: this GGUF file holds no model but general.type {kind!r}; give the model's file")
        self._architecture = self.field("general.architecture")
        if str(self._architecture) not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"{path}: GGUF architecture {self._architecture!r} is not supported; known: {known}")
        by_name = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
        layers = self._count("block_count")
        if self._tensors and layers > len(self._tensors):
            raise InputError(f"{path}: {layers} layers cannot be in {len(self._tensors)} tensors; use another file")
        self._names = gguf.get_tensor_name_map(by_name[self._architecture], layers)

    def field(self, name: str, default: Any = None) -> Any:
        """Returns the metadata value ``name``, or ``default`` if the file has none."""
        return self.fields.get(name, default)

    def required(self, name: str) -> Any:
        """Returns the metadata value ``name``; raises InputError if the file has none."""
        if name not in self.fields:
            raise InputError(f"{self.path}: metadata {name} is missing; download the file again")
        return self.fields[name]

    def _number(self, name: str, default: float | None = None) -> Any:
        """Returns a number of the architecture; if there is one for each layer, they must be equal."""
        full = f"{self._architecture}.{name}"
        value = self.required(full) if default is None else self.field(full, default)
        if isinstance(value, list) and value:
            if any(one != value[0] for one in value):
                raise InputError(f"{self.path}: {full} differs between layers, which is not supported; choose another model")
            value = value[0]
        if type(value) not in (int, float):
            raise InputError(f"{self.path}: metadata {full} is {value!r}, which is not a number; choose another file")
        return value

    def _count(self, name: str, default: int | None = None) -> int:
        value = self._number(name, default)
        if type(value) is not int or value < 1:
            full = f"{self._architecture}.{name}"
            raise InputError(
                f"{self.path}: metadata {full} is {value!r}, which is not a positive whole number; choose another file"
            )
        return value

    def hf_config(self) -> dict[str, Any]:
        """Returns the metadata in the form of the ``config.json`` of the same model.

        Raises:
          InputError: if metadata are missing, or say that the model computes something that the decoder does not.
        """
        if not self._tensors:
            raise InputError(f"{self.path}: this GGUF file holds no tensors, only a vocabulary; give the model's file")
        heads, hidden = self._count("attention.head_count"), self._count("embedding_length")
        head_dim = self._count("attention.key_length", hidden // heads)
        self._check_metadata(head_dim)
        return {
            "architectures": [ARCHITECTURES[self._architecture]],
            "vocab_size": next(iter(self.shape("embed_tokens.weight")), 0),
            "hidden_size": hidden,
            "intermediate_size": self._count("feed_forward_length"),
            "num_hidden_layers": self._count("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._count("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "max_position_embeddings": self._count("context_length"),
            "rms_norm_eps": self._number("attention.layer_norm_rms_epsilon"),
            "rope_parameters": self._rope(head_dim),
            "tie_word_embeddings": "output.weight" not in self._tensors,
            "attention_bias": self._has_bias("attn_q", "attn_k", "attn_v", "attn_output"),
            "mlp_bias": self._has_bias("ffn_gate", "ffn_up", "ffn_down"),
        }

    def _has_bias(self, *modules: str) -> bool:
        """Returns whether any layer has a bias in one of the modules; the decoder then needs all."""
        return any(name.endswith(f".{module}.bias") for name in self._tensors for module in modules)

    def _check_metadata(self, head_dim: int) -> None:
        """Checks that the architecture has no metadata but those used, those without effect, and neutral values."""
        window = self.field(f"{self._architecture}.context_length")
        neutral = {
            "rope.dimension_count": (head_dim,),
            "attention.value_length": (head_dim,),
            "attention.sliding_window": (0, window),
            "attention.causal": (True,),
            "attention.scale": (0.0,),
            "rope.scaling.attn_factor": (1.0,),
            "logit_scale": (0.0, 1.0),
            "residual_scale": (0.0, 1.0),
            "embedding_scale": (0.0, 1.0),
            "expert_count": (0,),
            "expert_used_count": (0,),
        }
        prefix = f"{self._architecture}."
        for name, value in self.fields.items():
            key = name.removeprefix(prefix)
            if key == name or key in _USED | _WITHOUT_EFFECT or value in neutral.get(key, ()):
                continue
            raise InputError(f"{self.path}: metadata {name} = {value} changes what the model computes and is not supported here")

    def _rope(self, head_dim: int) -> dict[str, Any]:
        theta, kind = self._number("rope.freq_base", 10000.0), self.field(f"{self._architecture}.rope.scaling.type")
        # The key was once another, and as in llama.cpp a factor without a type is a linear one.
        old, new = "rope.scale_linear", "rope.scaling.factor"
        name = old if f"{self._architecture}.{old}" in self.fields and f"{self._architecture}.{new}" not in self.fields else new
        factor = self._number(name, 1.0 if kind in (None, "none") else None)
        scaled = kind != "none" and factor not in (0, 1)
        if _ROPE_FACTORS in self._tensors and (not scaled or kind in (None, "linear")):
            factors = self._rope_factors(head_dim) * (factor if scaled else 1)
            return {"rope_type": "frequency_factors", "rope_theta": theta, "frequency_factors": factors.tolist()}
        if not scaled:
            return {"rope_type": "default", "rope_theta": theta}
        return {"rope_type": kind or "linear", "rope_theta": theta, "factor": factor}

    def _rope_factors(self, head_dim: int) -> np.ndarray:
        factors = self._dequantise(_ROPE_FACTORS)
        if factors.shape != (head_dim // 2,) or not (np.isfinite(factors) & (factors > 0)).all():
            raise InputError(f"{self.path}: {_ROPE_FACTORS} must hold {head_dim // 2} positive numbers; use another file")
        return factors

    def _dequantise(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        rows = tensor.data.reshape(-1, tensor.data.shape[-1])
        # dequantize processes 16 rows at a time, which is slow; contiguous rows are therefore joined into longer ones
        joined = rows.reshape(len(rows) // math.gcd(len(rows), _JOINED_ROWS), -1)
        try:
            return gguf.dequantize(joined, tensor.kind).reshape(tensor.shape)
        except NotImplementedError:
            kind = tensor.kind.name
            raise InputError(f"{self.path}: tensor {name} has type {kind}, which is not supported; use another file") from None

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of the tensor with Hugging Face name ``name`` (without the ``model.`` prefix)."""
        return tuple(self._tensors[self._stored(name)].shape)

    def read(self, name: str, part: tuple[slice, ...] = ()) -> np.ndarray:
        """Returns the tensor with Hugging Face name ``name`` (without the ``model.`` prefix), float32, (out, in).

        Args:
          name: of the tensor.
          part: index of the part to return; the whole tensor is dequantised all the same.

        Raises:
          InputError: if the tensor is missing or of an unsupported type.
        """
        value = self._dequantise(self._stored(name))
        if self._architecture == "llama" and ".self_attn.q_proj." in name:
            value = _halves(value, self._count("attention.head_count"))
        if self._architecture == "llama" and ".self_attn.k_proj." in name:
            value = _halves(value, self._count("attention.head_count_kv", self._count("attention.head_count")))
        return value[part]

    def _stored(self, name: str) -> str:
        """Returns the GGUF name of the tensor with Hugging Face name ``name``; raises InputError if it is missing."""
        hf_name = name if name.startswith("lm_head") else f"model.{name}"
        stored = self._names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
        if stored not in self._tensors:
            if name.endswith(".bias"):
                raise InputError(f"{self.path}: tensor {stored} is missing, though there are other biases; use safetensors")
            raise InputError(f"{self.path}: tensor {stored or name} is missing; download the file again")
        return stored

    def unread(self, names: Collection[str]) -> list[str]:
        """Returns the stored names of all tensors but ``names`` and the rope's, as the configuration has those."""
        return sorted(self._tensors.keys() - {self._stored(name) for name in names} - {_ROPE_FACTORS})


def _halves(value: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the interleaving, in Llama GGUF files, of the two halves that each head rotates against each other."""
    return value.reshape(heads, -1, 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
