"""The configuration of ``evaluate`` has the documented keys and defaults, and refuses invalid values."""

import dataclasses

import pytest

from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.core.errors import InputError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EvaluateConfig("run", seed=-1), "seed is -1"),
        (lambda: EvaluateConfig("run", rag_k=0), "rag_k is 0; give at least 1"),
        (lambda: EvaluateConfig("run", baseline_damage=0.0), "baseline_damage is 0.0; it must be above 0"),
        (lambda: EvaluateConfig("run", open_ended=-1), "open_ended is -1; give at least 0"),
        (lambda: EvaluateConfig("run", open_ended=2, open_samples=-1), "open_samples is -1; give at least 0"),
        (lambda: EvaluateConfig("run", open_ended=2, open_samples=10**30), f"open_samples is {10**30}; give at most 1000"),
        (lambda: EvaluateConfig("run", open_samples=4), "open_samples is 4, but open_ended is 0; the panel judges samples"),
        (lambda: EvaluateConfig("run", open_ended=2, open_samples=4, panel=False), "open_samples is 4, but panel is false"),
        (lambda: EvaluateConfig("run", judge_data="a.csv"), "judge_data is given, but open_ended is 0"),
        (lambda: EvaluateConfig("run", max_new_tokens=0), "max_new_tokens is 0; give at least 1"),
        (lambda: EvaluateConfig(), "give either --run DIR or --masks DIR"),
        (lambda: EvaluateConfig("run", masks="bundle"), "give either --run DIR or --masks DIR"),
        (lambda: EvaluateConfig(masks="bundle"), "give --output_dir"),
        (lambda: EvaluateConfig("run", prompts=("a", "b"), prompted=False), "prompts are given, but prompted is false"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_keys_and_defaults_are_those_of_the_contract():
    config = dataclasses.asdict(EvaluateConfig("runs/x"))
    data = {"source": None, "split": None, "num_samples": 200, "max_length": 512, "text": None}
    assert (config["run"], config["data"]) == ("runs/x", data)
    assert (config["prompts"], config["prompted"], config["controls"]) == (None, True, False)
    assert (config["dtype"], config["seed"]) == ("auto", 42)
    assert config["perplexity"] == dataclasses.asdict(DiscoverConfig())["perplexity"]
