"""Reads GGUF files of the Llama family: configuration, and dequantised tensors under their Hugging Face names."""

import math
import pathlib
from typing import Any

import gguf
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.models.gguf_header import read_header

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_JOINED_ROWS = 16


class GGUFSource:
    """A GGUF file, memory-mapped; tensors are dequantised to float32 one at a time.

    Raises:
      InputError: for a damaged file, an architecture other than llama, qwen2 or qwen3, or a missing tensor.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self.fields, self._tensors = read_header(path)
        except ValueError as error:
            raise InputError(f"{path}: not a readable GGUF file ({error}); download it again") from None
        self._architecture = self.field("general.architecture")
        if self._architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"{path}: GGUF architecture {self._architecture!r} is not supported; known: {known}")
        by_name = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
        self._names = gguf.get_tensor_name_map(by_name[self._architecture], self._hyper("block_count"))

    def field(self, name: str, default: Any = None) -> Any:
        """Returns the metadata value ``name``, or ``default`` if the file has none."""
        return self.fields.get(name, default)

    def required(self, name: str) -> Any:
        """Returns the metadata value ``name``; raises InputError if the file has none."""
        if name not in self.fields:
            raise InputError(f"{self.path}: metadata {name} is missing; download the file again")
        return self.fields[name]

    def _hyper(self, name: str, default: Any = None) -> Any:
        full = f"{self._architecture}.{name}"
        return self.required(full) if default is None else self.field(full, default)

    def hf_config(self) -> dict[str, Any]:
        """Returns the metadata in the form of the ``config.json`` of the same model."""
        heads = self._hyper("attention.head_count")
        hidden = self._hyper("embedding_length")
        return {
            "architectures": [ARCHITECTURES[self._architecture]],
            "vocab_size": self._tensors["token_embd.weight"].shape[0],
            "hidden_size": hidden,
            "intermediate_size": self._hyper("feed_forward_length"),
            "num_hidden_layers": self._hyper("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._hyper("attention.head_count_kv", heads),
            "head_dim": self._hyper("attention.key_length", hidden // heads),
            "max_position_embeddings": self._hyper("context_length"),
            "rms_norm_eps": self._hyper("attention.layer_norm_rms_epsilon"),
            "rope_parameters": self._rope(),
            "tie_word_embeddings": "output.weight" not in self._tensors,
            "attention_bias": "blk.0.attn_q.bias" in self._tensors,
            "mlp_bias": "blk.0.ffn_gate.bias" in self._tensors,
        }

    def _rope(self) -> dict[str, Any]:
        theta = self._hyper("rope.freq_base", 10000.0)
        if "rope_freqs.weight" in self._tensors:
            factors = self._dequantise("rope_freqs.weight").tolist()
            return {"rope_type": "frequency_factors", "rope_theta": theta, "frequency_factors": factors}
        kind = self._hyper("rope.scaling.type", "none")
        if kind == "none":
            return {"rope_type": "default", "rope_theta": theta}
        return {"rope_type": kind, "rope_theta": theta, "factor": self._hyper("rope.scaling.factor")}

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
            value = _halves(value, self._hyper("attention.head_count"))
        if self._architecture == "llama" and ".self_attn.k_proj." in name:
            value = _halves(value, self._hyper("attention.head_count_kv", self._hyper("attention.head_count")))
        return value[part]

    def _stored(self, name: str) -> str:
        """Returns the GGUF name of the tensor with Hugging Face name ``name``; raises InputError if it is missing."""
        hf_name = name if name.startswith("lm_head") else f"model.{name}"
        stored = self._names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
        if stored not in self._tensors:
            raise InputError(f"{self.path}: tensor {stored or name} is missing; download the file again")
        return stored


def _halves(value: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the interleaving, in Llama GGUF files, of the two halves that each head rotates against each other."""
    return value.reshape(heads, -1, 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
