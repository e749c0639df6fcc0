"""A model is loaded whole: its parameters, dtype and fingerprint."""

import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from conftest import recorded, write_model
from safetensors.numpy import load_file, save_file

import jaxpersona as jp
from jaxpersona import InputError
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.models.model import fingerprint


@pytest.fixture
def copy(tiny_folder, tmp_path):
    """Copies the tiny model's folder, to be changed."""
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def test_a_folder_becomes_a_model(tiny_folder, tiny_model):
    assert (tiny_model.name, tiny_model.origin) == (str(tiny_folder), "local folder")
    assert tiny_model.config.architecture == "LlamaForCausalLM" and tiny_model.config.num_layers == 3
    stored = load_file(tiny_folder / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    np.testing.assert_array_equal(tiny_model.params["layers"]["mlp"]["down_proj"]["kernel"][1], stored.T)
    assert tiny_model.tokenizer.encode("a")[0] == 0


def test_apply_gives_logits_and_is_the_decoder(tiny_model):
    tokens = jnp.array([[0, 5, 6]])
    logits = tiny_model.apply({"params": tiny_model.params}, tokens)
    assert logits.shape == (1, 3, 272) and logits.dtype == jnp.float32
    again = tiny_model.decoder.apply({"params": tiny_model.params}, tokens)
    np.testing.assert_array_equal(logits, again)
    assert hash(tiny_model.decoder) == hash(jp.load_model(tiny_model.name).decoder)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", jnp.float32), ("bfloat16", jnp.bfloat16)])
def test_dtype_is_that_of_all_parameters(tiny_folder, dtype, expected):
    params = jp.load_model(str(tiny_folder), dtype=dtype).params
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(expected)}


def test_auto_dtype_is_float32_on_cpu_and_bfloat16_elsewhere(tiny_folder, monkeypatch):
    for backend, expected in (("cpu", jnp.float32), ("gpu", jnp.bfloat16), ("tpu", jnp.bfloat16)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert jp.load_model(str(tiny_folder)).params["norm"]["scale"].dtype == expected


def test_unknown_dtypes_are_refused(tiny_folder):
    with pytest.raises(InputError, match=r"dtype 'float16' is unknown; known: auto, bfloat16, float32"):
        jp.load_model(str(tiny_folder), dtype="float16")  # type: ignore


def test_progress_ends_at_all(tiny_folder):
    stage, seen = recorded()
    jp.load_model(str(tiny_folder), stage=stage)
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1)) and seen[-1][0] == seen[-1][1]


def test_fingerprint_is_the_same_in_every_dtype_and_place(tiny_folder, copy):
    exact = {name: value.astype(ml_dtypes.bfloat16) for name, value in load_file(copy / "model.safetensors").items()}
    save_file(exact, copy / "model.safetensors")
    narrow = [jp.load_model(str(copy), dtype=dtype).fingerprint for dtype in ("float32", "bfloat16")]
    wide = [jp.load_model(str(tiny_folder), dtype=dtype).fingerprint for dtype in ("float32", "bfloat16")]
    assert len({*narrow, *wide}) == 1
    assert len(narrow[0]) == 64


def test_fingerprint_differs_for_other_weights_and_other_shapes(tiny_model, other_folder, tmp_path):
    found = {tiny_model.fingerprint, jp.load_model(str(other_folder)).fingerprint}
    found.add(jp.load_model(str(write_model(tmp_path / "shallow", num_hidden_layers=2))).fingerprint)
    assert len(found) == 3


@pytest.mark.parametrize("module", ["self_attn/q_proj", "mlp/down_proj"])
def test_fingerprint_sees_a_change_of_scale_in_any_kernel_and_ignores_what_is_never_masked(tiny_model, module):
    leaves = flatten(tiny_model.params)
    path = f"layers/{module}/kernel"
    changed = {**leaves, path: leaves[path].at[2].multiply(1.5)}
    assert fingerprint(unflatten(changed)) != tiny_model.fingerprint
    norms = {name: leaf * 2 if name.endswith("scale") else leaf for name, leaf in leaves.items()}
    assert fingerprint(unflatten(norms)) == tiny_model.fingerprint


def test_a_gguf_file_becomes_a_model(golden, golden_gguf):
    alphabet = [chr(code) for code in range(33, 126)]
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*alphabet, "!!", "<s>", "<end>"],
        "tokenizer.ggml.token_type": [*[1] * 94, 3, 3],
        "tokenizer.ggml.merges": ["! !"],
        "tokenizer.ggml.eos_token_id": 95,
    }
    model = golden("qwen2")
    loaded = jp.load_model(str(golden_gguf("qwen2", "qwen2", fields)))
    assert (loaded.origin, loaded.eos_ids, loaded.tokenizer.encode("ab<end>")) == ("local file", (95,), [64, 65, 95])
    assert loaded.fingerprint == fingerprint(model.params)
