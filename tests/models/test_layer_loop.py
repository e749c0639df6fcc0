"""The layers of a streamed model run one after another, and a killed run resumes at the layer it had reached."""

import itertools
import math

import numpy as np
import pytest
from conftest import Killed, killed_at, recorded, same

import jaxpersona as jp
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import Stage
from jaxpersona.data.neutral_text import read_text
from jaxpersona.methods import price_search
from jaxpersona.methods.registry import by_name
from jaxpersona.models.layer_loop import in_order, run_layers
from jaxpersona.models.perplexity import windows
from jaxpersona.models.perplexity_streamed import perplexities

WANDA = jp.methods.Wanda()
BUDGET = jp.methods.Taylor(max_perplexity_increase=0.03, budget_tokens=512)


@pytest.fixture
def opened(tiny_folder):
    """Returns a function that opens the model anew, as a new process would."""
    return lambda: jp.load_streamed(str(tiny_folder), "float32")


def stage_in(folder):
    """Returns a stage that keeps every checkpoint in ``folder``."""
    return Stage(store=CheckpointFolder(folder, every_seconds=0))


def discover(model, pairs, method, **options):
    return jp.discover(model, pairs, method, generated=TextAmount(4, 6), **options)


@pytest.mark.parametrize("backwards", [False, True])
def test_every_layer_runs_once_in_order_with_its_own_parameters(tiny_model, streamed, tmp_path, backwards):
    stage, steps = recorded()
    norms = MappedArrays(stage, tmp_path).array("norms", (3,))

    def step(number, params, state):
        state["seen"] = np.append(state["seen"], number)
        norms[number] = np.linalg.norm(params["layers"]["mlp"]["up_proj"]["kernel"])

    state = run_layers(streamed, lambda: {"seen": np.zeros(0, int)}, step, {"norms": norms}, stage, backwards)
    assert state["seen"].tolist() == ([2, 1, 0] if backwards else [0, 1, 2])
    expected = [np.linalg.norm(kernel) for kernel in tiny_model.params["layers"]["mlp"]["up_proj"]["kernel"]]
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
    assert steps == [(done, 3) for done in range(4)]


def test_a_checkpoint_of_another_key_is_ignored(streamed, tmp_path):
    calls = []

    def run(key):
        return run_layers(
            streamed, dict, lambda number, *_: calls.append((key, number)), {}, stage_in(tmp_path).part("layers"), key=key
        )

    for key in (1.0, 1.0, 2.0, math.inf):
        run(key)
    assert calls == [(key, number) for key in (1.0, 2.0, math.inf) for number in range(3)]


def test_what_was_collected_comes_in_order_of_layers():
    assert in_order({2: "c", 0: "a", 1: "b"}) == ["a", "b", "c"]


@pytest.mark.parametrize("method", [WANDA, BUDGET], ids=["wanda", "taylor"])
def test_killed_at_any_write_a_run_ends_with_the_same_masks(opened, pairs, method, tmp_path, monkeypatch):
    """Kills one run at its first write, then at the next after that, and so on to the end."""
    monkeypatch.setattr(price_search, "_STEPS", 2)
    expected, stops = discover(opened(), pairs, method), 0
    for when in itertools.cycle(["after", "before"]):
        try:
            with killed_at(monkeypatch, 1 if when == "after" else 2, when):
                found = discover(opened(), pairs, method, stage=stage_in(tmp_path))
            break
        except Killed:
            stops += 1
    assert stops >= 3
    assert same(found.masks, expected.masks)
    assert found.model.fingerprint == expected.model.fingerprint
    if expected.statistics:
        assert found.statistics.digest == expected.statistics.digest


@pytest.mark.parametrize(
    ("name", "settings", "write"),
    [("sparsegpt", {}, 2), ("steering", {}, 2), ("taylor", {"sparsity": 0.03}, 20)],
    ids=["sparsegpt", "steering", "share"],
)
def test_other_methods_resume_too(opened, pairs, name, settings, write, tmp_path, monkeypatch):
    method = by_name(name, **settings)
    expected = discover(opened(), pairs, method)
    with pytest.raises(Killed), killed_at(monkeypatch, write):
        discover(opened(), pairs, method, stage=stage_in(tmp_path))
    assert same(discover(opened(), pairs, method, stage=stage_in(tmp_path)).masks, expected.masks)


def test_statistics_of_lines_and_a_masked_head_resume(opened, pairs, tmp_path, monkeypatch):
    expected = discover(opened(), pairs, WANDA, protocol="official")
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        discover(opened(), pairs, WANDA, protocol="official", stage=stage_in(tmp_path))
    found = discover(opened(), pairs, WANDA, protocol="official", stage=stage_in(tmp_path))
    assert same(found.masks, expected.masks) and found.statistics.digest == expected.statistics.digest


def test_perplexity_resumes(opened, pairs, tmp_path, monkeypatch):
    masks = discover(opened(), pairs, jp.methods.Wanda(0.4)).masks
    options = {"personas": {"none": None, **masks}, "tokens": windows(opened(), read_text("builtin:neutral"), 256, 128)}
    expected = perplexities(opened(), **options)
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        perplexities(opened(), **options, stage=stage_in(tmp_path).part("perplexity"))
    steps, store = [], CheckpointFolder(tmp_path, every_seconds=0)
    stage = Stage(lambda name, *step: steps.append((name, *step)), store, "perplexity")
    assert perplexities(opened(), **options, stage=stage) == expected
    assert steps == [("perplexity", 2, 3), ("perplexity", 3, 3)]


def test_finished_layers_are_not_read_again(opened, pairs, tmp_path, monkeypatch):
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        discover(opened(), pairs, WANDA, stage=stage_in(tmp_path))
    model = opened()
    read, seen = type(model)._layer, []
    monkeypatch.setattr(type(model), "_layer", lambda self, number: seen.append(number) or read(self, number))
    discover(model, pairs, WANDA, stage=stage_in(tmp_path))
    assert seen == [2]
    assert model.fingerprint == opened().fingerprint


@pytest.mark.parametrize("damaged", ["mask.safetensors", "arrays/words-layers.mlp.up_proj.kernel.bin"])
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_file_restarts_its_stage(opened, pairs, tmp_path, monkeypatch, caplog, damaged, damage):
    expected = discover(opened(), pairs, WANDA).masks
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        discover(opened(), pairs, WANDA, stage=stage_in(tmp_path))
    path = tmp_path / damaged
    whole = path.read_bytes()
    place = len(whole) // 6  # in the first layer of the first persona
    path.write_bytes(whole[:place] if damage == "cut" else whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert same(discover(opened(), pairs, WANDA, stage=stage_in(tmp_path)).masks, expected)
    assert "damaged" in caplog.text and "its stage restarts" in caplog.text
