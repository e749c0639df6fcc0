"""Model configuration, read from a Hugging Face ``config.json``."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxpersona.core.errors import InputError, nearest


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding: base frequency ``theta`` and its scaling for long contexts.

    ``linear`` divides all frequencies by ``factor``. ``llama3`` divides the low ones, with a smooth transition between the two
    wavelength bounds (Llama 3.1 model card). ``frequency_factors`` divides each by its own factor, as GGUF files store them.
    """

    theta: float = 10000.0
    kind: Literal["default", "linear", "llama3", "frequency_factors"] = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192
    frequency_factors: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Shape and variant of a Llama-family decoder. Hashable, so it can be a static argument of a jitted function."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    rope: Rope
    local_rope: Rope | None = None
    """Rope of the sliding-window layers if it differs (Gemma 3)."""
    activation: Literal["silu", "gelu_tanh"] = "silu"
    tied_embeddings: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    gemma_norms: bool = False
    """Norms scale by 1 + weight and also follow attention and MLP; embeddings are scaled by sqrt(hidden_size)."""
    query_scale: float = 1.0
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    sliding_window: int | None = None
    sliding_layers: tuple[bool, ...] = ()
    """True for each layer that attends only within ``sliding_window``; empty if none does."""

    @property
    def is_sliding(self) -> tuple[bool, ...]:
        """True for each layer that attends only within a window."""
        return self.sliding_layers or (False,) * self.num_layers

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> "ModelConfig":
        """Reads the dictionary of a ``config.json`` written by Transformers 4 or 5.

        Raises:
          InputError: for an unsupported architecture, rope scaling or activation, or a missing key.
        """
        architecture = (hf.get("architectures") or [hf.get("model_type", "unknown")])[0]
        if architecture not in _FAMILIES:
            known = ", ".join(name for name in _FAMILIES if name[0].isupper())
            raise InputError(f"architecture {architecture!r} is not supported; known: {known}")
        if "text_config" in hf:
            hf = {**_GEMMA3_DEFAULTS, **hf, **hf["text_config"]}
        try:
            return cls(architecture=architecture, **_common(hf), **_FAMILIES[architecture](hf))
        except KeyError as error:
            raise InputError(f"config.json of {architecture}: key {error} is missing") from None


def _common(hf: Mapping[str, Any]) -> dict[str, Any]:
    heads = hf["num_attention_heads"]
    head_dim = hf.get("head_dim") or hf["hidden_size"] // heads
    return {
        "vocab_size": hf["vocab_size"],
        "hidden_size": hf["hidden_size"],
        "intermediate_size": hf["intermediate_size"],
        "num_layers": hf["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": hf.get("num_key_value_heads") or heads,
        "head_dim": head_dim,
        "max_positions": hf["max_position_embeddings"],
        "norm_eps": hf["rms_norm_eps"],
        "rope": _rope(hf),
        "activation": _activation(hf),
        "query_scale": (hf.get("query_pre_attn_scalar") or head_dim) ** -0.5,
    }


def _activation(hf: Mapping[str, Any]) -> str:
    name = hf.get("hidden_activation") or hf.get("hidden_act", "silu")
    known = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
    if name not in known:
        raise InputError(f"activation {name!r} in config.json is not supported; {nearest(name, known)}")
    return known[name]


def _rope(hf: Mapping[str, Any]) -> Rope:
    """Returns the rope of the full-attention layers. Transformers 5 nests it by layer kind if kinds differ; 4 has flat keys."""
    parameters = hf.get("rope_parameters")
    if parameters is None:
        scaling = hf.get("rope_scaling") or {}
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        parameters = {**scaling, "rope_type": kind, "rope_theta": hf.get("rope_theta", 10000.0)}
    return _read_rope(parameters.get("full_attention", parameters))


def _local_rope(hf: Mapping[str, Any]) -> Rope:
    nested = (hf.get("rope_parameters") or {}).get("sliding_attention")
    return _read_rope(nested) if nested else Rope(theta=hf.get("rope_local_base_freq", 10000.0))


def _read_rope(parameters: Mapping[str, Any]) -> Rope:
    theta = float(parameters.get("rope_theta", 10000.0))
    match parameters.get("rope_type", "default"):
        case "default":
            return Rope(theta)
        case "linear":
            return Rope(theta, "linear", factor=parameters["factor"])
        case "llama3":
            return Rope(
                theta,
                "llama3",
                factor=parameters["factor"],
                low_freq_factor=parameters["low_freq_factor"],
                high_freq_factor=parameters["high_freq_factor"],
                original_max_position=parameters["original_max_position_embeddings"],
            )
        case "frequency_factors":
            return Rope(theta, "frequency_factors", frequency_factors=tuple(parameters["frequency_factors"]))
        case other:
            raise InputError(f"rope scaling {other!r} in config.json is not supported; known: default, linear, llama3")


def _llama(hf: Mapping[str, Any]) -> dict[str, Any]:
    bias = hf.get("attention_bias", False)
    tied = hf.get("tie_word_embeddings", False)
    return {"qkv_bias": bias, "o_bias": bias, "mlp_bias": hf.get("mlp_bias", False), "tied_embeddings": tied}


def _windows(hf: Mapping[str, Any], is_sliding: list[bool]) -> dict[str, Any]:
    """Returns the window settings; ``layer_types`` in config.json takes precedence over the family's pattern."""
    window = hf.get("sliding_window")
    if hf.get("layer_types"):
        is_sliding = [kind == "sliding_attention" for kind in hf["layer_types"]]
    if window is None or not any(is_sliding):
        return {}
    return {"sliding_window": window, "sliding_layers": tuple(is_sliding)}


def _mistral(hf: Mapping[str, Any]) -> dict[str, Any]:
    return {"tied_embeddings": hf.get("tie_word_embeddings", False), **_windows(hf, [True] * hf["num_hidden_layers"])}


def _qwen2(hf: Mapping[str, Any]) -> dict[str, Any]:
    layers = range(hf["num_hidden_layers"])
    first = hf.get("max_window_layers", 0) if hf.get("use_sliding_window") else len(layers)
    bias = {"qkv_bias": True, "tied_embeddings": hf.get("tie_word_embeddings", False)}
    return {**bias, **_windows(hf, [layer >= first for layer in layers])}


def _qwen3(hf: Mapping[str, Any]) -> dict[str, Any]:
    bias = hf.get("attention_bias", False)
    return {**_qwen2(hf), "qkv_bias": bias, "o_bias": bias, "qk_norm": True}


def _gemma(hf: Mapping[str, Any], period: int) -> dict[str, Any]:
    """Returns Gemma's settings; every ``period``-th layer attends globally, the others within the window."""
    if hf.get("use_bidirectional_attention"):
        raise InputError("a Gemma with bidirectional attention is an encoder, not a language model; choose a causal one")
    is_sliding = [(layer + 1) % period != 0 for layer in range(hf["num_hidden_layers"])]
    bias = hf.get("attention_bias", False)
    return {
        "qkv_bias": bias,
        "o_bias": bias,
        "gemma_norms": True,
        "tied_embeddings": hf.get("tie_word_embeddings", True),
        "attention_softcap": hf.get("attn_logit_softcapping"),
        "logit_softcap": hf.get("final_logit_softcapping"),
        **_windows(hf, is_sliding),
    }


def _gemma2(hf: Mapping[str, Any]) -> dict[str, Any]:
    return _gemma(hf, period=2)


def _gemma3(hf: Mapping[str, Any]) -> dict[str, Any]:
    period = hf.get("sliding_window_pattern") or hf.get("_sliding_window_pattern") or 6
    return {**_gemma(hf, period), "qk_norm": True, "local_rope": _local_rope(hf)}


# The text_config of a multimodal Gemma 3 leaves out values that equal these defaults of Transformers.
_GEMMA3_DEFAULTS = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}

_FAMILIES = {
    "LlamaForCausalLM": _llama,
    "MistralForCausalLM": _mistral,
    "Qwen2ForCausalLM": _qwen2,
    "Qwen3ForCausalLM": _qwen3,
    "Gemma2ForCausalLM": _gemma2,
    "Gemma3ForCausalLM": _gemma3,
    "Gemma3ForConditionalGeneration": _gemma3,
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
}
