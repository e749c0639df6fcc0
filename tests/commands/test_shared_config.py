"""Configurations refuse values that no run can use, and have the keys and defaults of the contract."""

import dataclasses

import pytest

from jaxpersona.commands.chat_config import ChatConfig
from jaxpersona.commands.discover_config import DiscoverConfig, MethodOptions
from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.generate_config import GenerateConfig
from jaxpersona.commands.perplexity_config import PerplexityConfig
from jaxpersona.commands.shared_config import DataOptions, EvaluateData, TextOptions
from jaxpersona.commands.sweep_config import SweepConfig, SweepData
from jaxpersona.core.errors import InputError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataOptions(num_samples=0), "data.num_samples is 0; give at least 1"),
        (lambda: DataOptions(num_samples=-5), "data.num_samples is -5"),
        (lambda: SweepData(num_samples=[8, 0]), "data.num_samples is 0; give at least 1"),
        (lambda: SweepData(num_samples=[]), "data.num_samples is empty"),
        (lambda: SweepConfig(seeds=[1, -1]), "seed is -1"),
        (lambda: SweepConfig(seeds=[]), "seeds and methods must not be empty"),
        (lambda: SweepConfig(methods=[]), "seeds and methods must not be empty"),
        (lambda: DataOptions(max_length=1), "data.max_length is 1; give at least 2"),
        (lambda: DataOptions(generated_texts=0), "data.generated_texts is 0; give at least 1"),
        (lambda: DataOptions(generated_length=2), "data.generated_length is 2; give at least 3"),
        (lambda: DataOptions(personas=("a/b", "c")), "data.personas: 'a/b' cannot name a folder; use letters, digits, - and _"),
        (lambda: DataOptions(personas=("a", "..")), "'..' cannot name a folder"),
        (lambda: DataOptions(personas=("", "b")), "'' cannot name a folder"),
        (lambda: DataOptions(personas=("a", "-")), "'-' cannot name a folder"),
        (lambda: DataOptions(personas=("a", "b c")), "'b c' cannot name a folder"),
        (lambda: DataOptions(personas=("a", "a")), r"data.personas \['a', 'a'\]: give two different names"),
        (lambda: DataOptions(personas=("none", "a")), "give two different names"),
        (lambda: TextOptions(max_tokens=-1), "perplexity.max_tokens is -1; give at least 0"),
        (lambda: DiscoverConfig(seed=-1), r"seed is -1; it must lie in 0 to 2\*\*32 - 1"),
        (lambda: DiscoverConfig(seed=2**32), "seed is 4294967296"),
        (lambda: GenerateConfig("run", "prompt", seed=-1), "seed is -1"),
        (lambda: GenerateConfig("run", "prompt", prompts="file"), "give what to answer once"),
        (lambda: GenerateConfig("run", "prompt", batch=0), "batch is 0"),
        (lambda: GenerateConfig("run", "prompt", []), "persona is an empty list"),
        (lambda: ChatConfig("run", seed=-1), "seed is -1"),
        (lambda: ChatConfig("run", max_new_tokens=0), "max_new_tokens is 0"),
        (lambda: ChatConfig("run", max_length=128), "max_length is 128; it must be above max_new_tokens"),
        (lambda: EvaluateData(num_samples=0), "data.num_samples is 0; give at least 1"),
        (lambda: EvaluateData(max_length=1), "data.max_length is 1; give at least 2"),
        (lambda: EvaluateConfig("run", seed=-1), "seed is -1"),
        (lambda: PerplexityConfig(max_tokens=0), "max_tokens is 0; give at least 2"),
        (lambda: PerplexityConfig(window=1), "window is 1; give at least 2"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_values_at_the_edge_are_taken():
    assert DataOptions(num_samples=1, max_length=2, personas=("i-e_1", "Ä")).personas == ("i-e_1", "Ä")
    assert TextOptions(max_tokens=0).max_tokens == 0
    assert DiscoverConfig(seed=2**32 - 1).seed == 4294967295
    assert PerplexityConfig(max_tokens=2, window=2).window == 2


def test_discover_has_the_keys_and_defaults_of_the_contract():
    config = dataclasses.asdict(DiscoverConfig())
    assert config["model"] == {"name": "smollm2-135m-instruct", "dtype": "auto"}
    assert {key: config["data"][key] for key in ("num_samples", "max_length", "text")} == {
        "num_samples": 128,
        "max_length": 512,
        "text": "chat",
    }
    assert config["data"]["personas"] == ("seek", "reject")
    assert (config["data"]["generated_texts"], config["data"]["generated_length"]) == (48, 128)
    assert {"name", "sparsity", "activation", "max_perplexity_increase"} <= set(config["method"])
    assert (config["protocol"], config["seed"], config["overwrite"]) == ("strict", 42, False)


def test_evaluate_has_the_keys_and_defaults_of_the_contract():
    config = dataclasses.asdict(EvaluateConfig("runs/x"))
    data = {"source": None, "split": None, "num_samples": 200, "max_length": 512, "text": "chat"}
    assert (config["run"], config["data"]) == ("runs/x", data)
    assert (config["prompts"], config["prompted"], config["controls"]) == (None, True, False)
    assert (config["dtype"], config["seed"]) == ("auto", 42)
    assert config["perplexity"] == dataclasses.asdict(DiscoverConfig())["perplexity"]


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MethodOptions().sparsity = 0.5
