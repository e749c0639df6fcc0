"""The files of a model are opened: configuration, tokenizer, end-of-turn tokens, and damaged folders."""

import json
import shutil

import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona import InputError
from jaxpersona.models.model_files import open_files


@pytest.fixture
def copy(tiny_folder, tmp_path):
    """Copies the tiny model's folder, to be changed."""
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def test_opened_files_describe_the_model_and_serve_to_load_it(tiny_folder, tiny_model):
    files = open_files(str(tiny_folder))
    assert (files.path, files.origin) == (tiny_folder, "local folder")
    assert files.hf == json.loads((tiny_folder / "config.json").read_text())
    assert (files.config, files.eos_ids) == (tiny_model.config, tiny_model.eos_ids)
    assert files.source.read("norm.weight").tolist() == np.asarray(tiny_model.params["norm"]["scale"]).tolist()
    assert jp.load_model("any name", "float32", files=files).fingerprint == tiny_model.fingerprint


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [(1, None, (1,)), ([1, 7], None, (1, 7)), (None, None, (1,)), (5, [9, 1], (1, 9)), (5, 9, (1, 9)), (5, "absent", (1, 5))],
)
def test_end_of_turn_tokens_are_those_of_all_files(copy, config, generation, expected):
    hf = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**hf, "eos_token_id": config}))
    if generation is not None:
        content = {} if generation == "absent" else {"eos_token_id": generation}
        (copy / "generation_config.json").write_text(json.dumps(content))
    assert open_files(str(copy)).eos_ids == expected


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_damaged_json_is_named(copy, file):
    (copy / file).write_text("{")
    with pytest.raises(InputError, match=rf"{file}: not valid JSON \(.*\); download it again"):
        jp.load_model(str(copy))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MambaForCausalLM"]}, r"architecture 'MambaForCausalLM' is not supported"),
        ({"architectures": ["NewForCausalLM"], "model_type": "new"}, r"architecture 'NewForCausalLM' is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, r"rope scaling 'yarn' .* is not supported"),
        ({"hidden_size": None}, r"key 'hidden_size' is missing"),
        ({"num_hidden_layers": 4}, r"tensor model.layers.3.*weight is missing; the weights do not fit config.json"),
        ({"intermediate_size": 40}, r"config.json says .*40.*; they are of different models"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(copy, changes, message):
    hf = json.loads((copy / "config.json").read_text())
    changed = {key: value for key, value in {**hf, **changes}.items() if value is not None}
    (copy / "config.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match=message):
        jp.load_model(str(copy))
