"""Configurations of every family are read, in the styles of Transformers 4 and 5; what the decoder lacks is refused."""

import pytest
import transformers

from jaxpersona import InputError
from jaxpersona.models.config import ModelConfig, Rope

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}


def read(**changes):
    return ModelConfig.from_hf({**LLAMA, **changes})


def test_a_plain_llama_has_the_defaults_of_transformers():
    assert read() == ModelConfig("LlamaForCausalLM", 96, 32, 48, 4, 4, 4, 8, 128, 1e-5, Rope(10000.0), query_scale=8**-0.5)


def test_configs_are_equal_by_value_and_hashable():
    assert read() == read() and hash(read()) == hash(read())
    assert read() != read(tie_word_embeddings=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama2", {}),
        ("llama3", {"head_dim": 16}),
        ("llama_linear", {"qkv_bias": True, "o_bias": True, "mlp_bias": True}),
        ("smollm", {"tied_embeddings": True, "num_kv_heads": 1}),
        ("mistral", {"sliding_window": 8, "sliding_layers": (True, True, True)}),
        ("qwen2", {"qkv_bias": True, "o_bias": False, "sliding_window": None}),
        ("qwen2_window", {"sliding_window": 8, "sliding_layers": (False, False, True, True)}),
        ("qwen3", {"qk_norm": True, "qkv_bias": False}),
        ("gemma2", {"gemma_norms": True, "attention_softcap": 5.0, "logit_softcap": 3.0, "query_scale": 24**-0.5}),
        ("gemma3", {"qk_norm": True, "activation": "gelu_tanh", "sliding_layers": (True, True, False, True)}),
    ],
)
def test_each_family_has_its_variant(golden, name, expected):
    config = golden(name).config
    assert {key: getattr(config, key) for key in expected} == expected


@pytest.mark.parametrize("name", ["llama3", "gemma3"])
def test_transformers_4_and_5_files_read_the_same(golden, name):
    model = golden(name)
    old = golden(name, "config_v4.json").config
    if name == "gemma3":  # the old key says only every how many layers one is global
        assert old.sliding_layers == (True, True, False, True)
    assert old == model.config


def test_rope_of_each_kind():
    llama3 = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    assert read(rope_parameters=llama3).rope == Rope(5e5, "llama3", 8.0, 1.0, 4.0, 32)
    assert read(rope_theta=1e6).rope == Rope(1e6)
    assert read(rope_theta=1e6, rope_scaling=None).rope == Rope(1e6)
    assert read(rope_scaling={"type": "linear", "factor": 2.0}).rope == Rope(10000.0, "linear", 2.0)


def test_local_rope_of_gemma3_in_both_styles(golden):
    assert golden("gemma3").config.local_rope == Rope(1e4)
    assert golden("gemma3").config.rope == Rope(1e6, "linear", 8.0)
    hf = {**golden("gemma3", "config_v4.json").hf, "rope_local_base_freq": 5e3}
    assert ModelConfig.from_hf(hf).local_rope == Rope(5e3)


@pytest.mark.parametrize(
    ("model_type", "family"),
    [("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM"), ("mistral", "MistralForCausalLM")],
)
def test_model_type_stands_in_for_a_missing_architecture(model_type, family):
    by_type = read(architectures=None, model_type=model_type)
    by_name = read(architectures=[family])
    assert {**vars(by_type), "architecture": ""} == {**vars(by_name), "architecture": ""}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma2", (True, False, True, False)),
        ("qwen2_window", (False, False, True, True)),
        ("mistral", (True, True, True)),
        ("qwen2", ()),
    ],
)
def test_without_layer_types_the_window_follows_the_familys_pattern(golden, name, expected):
    hf = {key: value for key, value in golden(name).hf.items() if key != "layer_types"}
    assert ModelConfig.from_hf(hf).sliding_layers == expected


def test_window_that_no_layer_uses_is_dropped():
    qwen = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 8}
    assert read(**qwen, use_sliding_window=False, max_window_layers=0).sliding_window is None
    assert read(**qwen, use_sliding_window=True, max_window_layers=4).sliding_layers == ()
    assert read(architectures=["MistralForCausalLM"], sliding_window=None).sliding_window is None


def test_multimodal_gemma3_takes_its_text_part(golden):
    hf = golden("gemma3").hf
    nested = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": hf, "vision_config": {"hidden_size": 7}}
    config = ModelConfig.from_hf(nested)
    assert {**vars(config), "architecture": "Gemma3ForCausalLM"} == vars(golden("gemma3").config)


def test_multimodal_gemma3_leaves_out_what_equals_the_defaults_of_transformers():
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 12, "sliding_window": 1024}
    scaling = {"rope_type": "linear", "factor": 8.0}
    short = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {**text, "rope_scaling": scaling}}
    ropes = {"full_attention": {**scaling, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    full = transformers.Gemma3TextConfig(**text, rope_parameters=ropes).to_dict()
    expected = ModelConfig.from_hf({**full, "architectures": ["Gemma3ForConditionalGeneration"]})
    assert ModelConfig.from_hf(short) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            r"architecture 'MambaForCausalLM' is not supported; known: LlamaForCausalLM, MistralForCausalLM, ",
        ),
        ({"architectures": [], "model_type": "bert"}, r"architecture 'bert' is not supported"),
        ({"architectures": None}, r"architecture 'unknown' is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, r"rope scaling 'yarn' in config.json is not supported; known:"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, r"rope scaling 'dynamic'"),
        ({"rope_scaling": {"rope_type": "linear"}}, r"config.json of LlamaForCausalLM: key 'factor' is missing"),
        ({"hidden_act": "relu"}, r"activation 'relu' in config.json is not supported"),
        ({"hidden_act": "gelu_pytorch_tahn"}, r"did you mean 'gelu_pytorch_tanh'\?"),
        ({"architectures": ["Gemma2ForCausalLM"], "use_bidirectional_attention": True}, r"bidirectional attention is an encoder"),
    ],
)
def test_what_the_decoder_lacks_is_refused_by_name(changes, message):
    with pytest.raises(InputError, match=message):
        read(**changes)


@pytest.mark.parametrize("key", [key for key in LLAMA if key != "architectures"])
def test_missing_keys_are_named(key):
    hf = {name: value for name, value in LLAMA.items() if name != key}
    with pytest.raises(InputError, match=f"key '{key}' is missing"):
        ModelConfig.from_hf(hf)
