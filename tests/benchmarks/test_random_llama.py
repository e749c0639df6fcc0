"""Random models on disk load as any other."""

import numpy as np

import jaxpersona as jp
from jaxpersona.benchmarks.random_llama import hf_config, random_array, write_model


def test_a_written_model_loads(tmp_path):
    folder = write_model(tmp_path / "random", hf_config(layers=2, width=64, inner=96))
    assert sorted(path.name for path in folder.glob("*.safetensors")) == ["0.safetensors", "1.safetensors", "outside.safetensors"]
    model = jp.load_model(str(folder), "float32")
    assert model.params["layers"]["mlp"]["down_proj"]["kernel"].shape == (2, 96, 64)
    assert model.tokenizer.decode(model.tokenizer.encode("gold?")) == "gold?"


def test_the_variance_is_one_over_the_last_axis():
    assert np.isclose(random_array(np.random.default_rng(0), 200, 50).std() * 50**0.5, 1, atol=0.02)
