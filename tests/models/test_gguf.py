"""GGUF files as llama.cpp's converter writes them give the logits of their safetensors, or a clear refusal."""

import numpy as np
import pytest

from jaxpersona import InputError
from jaxpersona.models.config import ModelConfig, Rope
from jaxpersona.models.gguf import GGUFSource
from jaxpersona.models.rope import rope_frequencies


def read(path):
    source = GGUFSource(path)
    return source, ModelConfig.from_hf(source.hf_config())


def round_to_q8(value):
    """Rounds to blocks of 32 numbers as int8 times a half-precision scale."""
    blocks = value.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    return (np.round(blocks / scale) * scale.astype(np.float16)).astype(np.float32).reshape(value.shape)


LINEAR = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}


@pytest.mark.parametrize(
    ("name", "architecture", "fields"),
    [
        ("llama2", "llama", {}),
        ("llama2", "llama", {"llama.attention.head_count_kv": None, "llama.attention.key_length": None}),
        ("smollm", "llama", {}),
        ("llama_linear", "llama", LINEAR),
        ("qwen2", "qwen2", {}),
        ("qwen3", "qwen3", {}),
    ],
)
def test_logits_equal_those_of_transformers(golden, golden_gguf, load, forward, name, architecture, fields):
    model = golden(name)
    source, config = read(golden_gguf(name, architecture, fields))
    logits = forward(config, {"params": load(source, config)}, model.tokens)
    np.testing.assert_allclose(logits, model.logits, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", ["llama2", "smollm", "llama_linear", "qwen2", "qwen3"])
def test_config_equals_that_of_the_folder(golden, golden_gguf, name):
    architecture = name if name.startswith("qwen") else "llama"
    _, config = read(golden_gguf(name, architecture, LINEAR if name == "llama_linear" else {}))
    expected = vars(golden(name).config)
    assert {**vars(config), "norm_eps": None} == {**expected, "norm_eps": None}
    assert config.norm_eps == pytest.approx(expected["norm_eps"])


def test_rope_factors_of_a_llama3_file_give_its_logits(golden, golden_gguf, load, forward):
    model = golden("llama3")
    plain = rope_frequencies(Rope(model.config.rope.theta), model.config.head_dim)
    factors = plain / rope_frequencies(model.config.rope, model.config.head_dim)
    source, config = read(golden_gguf("llama3", "llama", tensors={"rope_freqs.weight": factors.astype(np.float32)}))
    assert config.rope.kind == "frequency_factors"
    logits = forward(config, {"params": load(source, config)}, model.tokens)
    np.testing.assert_allclose(logits, model.logits, rtol=0, atol=5e-4)


def test_quantised_tensors_are_dequantised_in_their_own_order_of_rows(golden, golden_gguf):
    stored = ["blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.2.ffn_up.weight", "token_embd.weight"]
    source, _ = read(golden_gguf("llama2", "llama", quantised=stored))
    tensors = golden("llama2").tensors
    for name in (
        "layers.0.self_attn.q_proj.weight",
        "layers.1.self_attn.k_proj.weight",
        "layers.2.mlp.up_proj.weight",
        "embed_tokens.weight",
    ):
        value = source.read(name)
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, round_to_q8(tensors[f"model.{name}"]), rtol=1e-3, atol=1e-6)
        assert np.abs(value - tensors[f"model.{name}"]).max() > 1e-4
        np.testing.assert_array_equal(source.read(name, (slice(3, 9), slice(0, 4))), value[3:9, :4])
        assert source.shape(name) == value.shape
    other = "layers.1.self_attn.q_proj.weight"
    np.testing.assert_array_equal(source.read(other), tensors[f"model.{other}"])


def test_fields_have_defaults(golden_gguf):
    source, _ = read(golden_gguf("llama2", "llama", {"general.name": "tiny", "tokenizer.ggml.merges": ["a b", "c d"]}))
    assert source.field("general.name") == "tiny"
    assert source.field("tokenizer.ggml.merges") == ["a b", "c d"]
    assert source.field("no.such") is None and source.field("no.such", 3) == 3


def test_without_a_base_frequency_it_is_10000(golden_gguf):
    assert read(golden_gguf("llama2", "llama", {"llama.rope.freq_base": None}))[1].rope == Rope(10000.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"llama.block_count": None}, r"metadata llama.block_count is missing; download the file again"),
        ({"llama.attention.head_count": None}, r"metadata llama.attention.head_count is missing"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 2.0}, r"rope scaling 'yarn'.* is not supported"),
        ({"llama.rope.scaling.type": "linear"}, r"metadata llama.rope.scaling.factor is missing"),
    ],
)
def test_metadata_that_is_missing_or_not_supported_is_named(golden_gguf, fields, message):
    path = golden_gguf("llama2", "llama", fields)
    with pytest.raises(InputError, match=message):
        read(path)


def test_an_unknown_architecture_is_named_with_the_known_ones(golden_gguf):
    path = golden_gguf("llama2", "mamba")
    with pytest.raises(InputError, match=r"GGUF architecture 'mamba' is not supported; known: llama, qwen2, qwen3"):
        GGUFSource(path)


def test_a_missing_tensor_is_named(golden, golden_gguf, load):
    source, config = read(golden_gguf("llama2", "llama", tensors={"blk.1.ffn_down.weight": None}))
    with pytest.raises(InputError, match=r"tensor blk.1.ffn_down.weight? is missing; download the file again"):
        load(source, config)


def test_a_tensor_of_a_type_without_dequantisation_is_named(golden_gguf, load):
    source, config = read(golden_gguf("llama2", "llama", tensors={"output_norm.weight": np.ones(32, np.int32)}))
    with pytest.raises(InputError, match=r"tensor output_norm.weight has type I32, which is not supported; use another file"):
        load(source, config)


def test_files_cut_anywhere_are_refused(tokenizer_gguf, golden_gguf, tmp_path):
    whole = golden_gguf("llama2", "llama").read_bytes()
    header = tokenizer_gguf("gpt-2").read_bytes()
    short = tmp_path / "short.gguf"
    for content in [*(header[:size] for size in range(0, 2000, 97)), whole[:1000], whole[: len(whole) // 2], whole[:-100]]:
        short.write_bytes(content)
        with pytest.raises(InputError, match=r"short.gguf: not a readable GGUF file .*; download it again"):
            GGUFSource(short)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "page.gguf").write_text("<!doctype html>" * 100)
    with pytest.raises(InputError, match=r"page.gguf: not a readable GGUF file \(GGUF magic invalid\)"):
        GGUFSource(tmp_path / "page.gguf")
