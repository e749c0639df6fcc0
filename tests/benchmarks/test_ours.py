"""Our side does what the library does; PyTorch's side, where it is installed, gives the same masks and scores."""

import dataclasses
import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
from conftest import write_model

import jaxpersona as jp
from jaxpersona.benchmarks import ours, subject
from jaxpersona.benchmarks.commands.discover import agreement
from jaxpersona.core.files import write_atomically
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "torch_baseline.py"
SHAPE = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def torch_side():
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("torch_baseline", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(task, options):
        with module.torch.no_grad():
            return module.TASKS[task](options, {})

    return run


@pytest.fixture
def questions(tiny_model, pairs):
    return [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]


def scores_of(model, questions):
    options = {"model": model.name, "dtype": "float32", "pairs": [dataclasses.asdict(pair) for pair in questions]}
    return ours.multiple_choice(json.loads(json.dumps(options)), {})["scores"]


def test_scores_are_those_of_the_library(tiny_model, questions):
    expected = score_answers(tiny_model, tiny_model.params, questions).log_prob
    np.testing.assert_allclose(scores_of(tiny_model, questions), expected)


@pytest.fixture(scope="module")
def both_read(tmp_path_factory):
    """The tiny model as Transformers wants it, which asks for a ``model_type``."""
    return jp.load_model(str(write_model(tmp_path_factory.mktemp("both") / "tiny", model_type="llama")), "float32")


def test_pytorch_scores_alike(torch_side, both_read, pairs, questions):
    both = zip(pairs, questions, strict=True)
    asked = [{"texts": subject.texts(both_read, pair), "answer_start": ids.answer_start} for pair, ids in both]
    theirs = torch_side("multiple_choice", {"model": both_read.name, "questions": asked})["scores"]
    np.testing.assert_allclose(scores_of(both_read, questions), theirs, rtol=1e-4)


def test_pytorch_finds_the_same_masks(torch_side, both_read, pairs, tmp_path):
    texts = [subject.texts(both_read, pair) for pair in pairs]
    options = {"model": both_read.name, "sparsity": 0.5, "output": str(tmp_path / "torch")}
    torch_side("discover", {**options, "texts": {"seek": [a for a, _ in texts], "reject": [b for _, b in texts]}})
    run = jp.discover(both_read, pairs, jp.methods.Wanda(0.5))
    for persona, masks in run.masks.items():
        jp.save_masks(tmp_path / "ours" / persona, masks, {})
    assert agreement(tmp_path / "ours", tmp_path / "torch") > 0.999


def test_generation_counts_every_token_asked_for(tiny_model):
    options = {"model": tiny_model.name, "prompts": ["Gold?", "Iron, or land?"], "batches": [1, 2], "new_tokens": 5, "repeats": 2}
    found = ours.generate(options, {})["tokens_per_second"]
    assert {size: len(rates) for size, rates in found.items()} == {"1": 2, "2": 2}
    assert all(rate > 0 for rates in found.values() for rate in rates)


def test_switching_is_timed_every_time(tiny_model):
    assert len(ours.switch({"model": tiny_model.name, "repeats": 3}, {})["switch"]) == 3


def test_scaling_times_a_random_model(tmp_path):
    from jaxpersona.benchmarks.commands.scaling import _hf_config

    write_atomically(tmp_path / "config.json", json.dumps({**_hf_config({"width": 64, "layers": 2, "tokens": 0}), **SHAPE}))
    seconds = {}
    ours.scaling({"config": str(tmp_path / "config.json"), "dtype": "auto", "tokens": 4096}, seconds)
    assert set(seconds) == {"calibrate", "mask"}


def test_a_result_has_stages_and_compilations(tiny_model, tmp_path):
    options = {"started": 0.0, "model": tiny_model.name, "repeats": 2}
    (tmp_path / "options.json").write_text(json.dumps(options))
    jax.clear_caches()
    ours.main("switch", str(tmp_path / "options.json"), str(tmp_path / "result.json"))
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result["seconds"]) == {"import", "load", "of which compile"}
    assert result["compilations"] > 0
