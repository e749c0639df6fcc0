"""Folders written from GGUF files have Transformers' names and keys, and the same parameters when loaded."""

import json

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.stage import Stage
from jaxpersona.core.tree import flatten
from jaxpersona.exporters.hf_folder import write_folder
from jaxpersona.models.model_files import open_files

VOCABULARY = [f"w{number}" for number in range(93)] + ["<s>", "</s>", "<unk>"]


@pytest.fixture
def gguf(golden_gguf):
    """Returns a function that writes a golden model as GGUF, with a vocabulary."""
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": VOCABULARY,
        "tokenizer.ggml.token_type": [1] * 93 + [3, 3, 2],
        "tokenizer.ggml.merges": ["w 1"],
        "tokenizer.ggml.bos_token_id": 93,
        "tokenizer.ggml.eos_token_id": 94,
    }

    def write(name, architecture, **changes):
        words = ["w", "1", *VOCABULARY[2:]]
        return golden_gguf(name, architecture, {**fields, "tokenizer.ggml.tokens": [*words[:-4], "w1", *words[-3:]]}, **changes)

    return write


@pytest.mark.parametrize(("name", "architecture"), [("llama2", "llama"), ("qwen3", "qwen3"), ("smollm", "llama")])
def test_a_gguf_file_as_a_folder(gguf, tmp_path, name, architecture):
    path, steps = gguf(name, architecture), []
    write_folder(tmp_path / "out", open_files(str(path)), stage=Stage(lambda name, *step: steps.append(step)))
    expected, found = jp.load_model(str(path), "float32"), jp.load_model(str(tmp_path / "out"), "float32")
    jax.tree.map(np.testing.assert_array_equal, flatten(found.params), flatten(expected.params))
    assert found.config == expected.config and found.eos_ids == expected.eos_ids
    assert found.tokenizer.get_vocab() == expected.tokenizer.get_vocab()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["bos_token_id"], config["eos_token_id"]) == (architecture, 93, [94])
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == [94]
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_a_rope_without_a_name_in_transformers_is_refused(gguf, tmp_path):
    path = gguf("llama3", "llama", tensors={"rope_freqs.weight": np.ones(8, np.float32)})
    with pytest.raises(jp.InputError, match="Transformers cannot be told this file's rope"):
        write_folder(tmp_path / "out", open_files(str(path)))
    assert not (tmp_path / "out").exists()
