"""Baselines by name return parameters under either persona from the recipe's pairs."""

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.baselines import registry
from jaxpersona.evaluation.baselines.fine_tuning import FineTuned
from jaxpersona.evaluation.baselines.registry import baseline_params, check_baselines
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.models.perplexity import perplexity, windows


@pytest.fixture
def recipe(pairs):
    return Recipe(jp.Pairs("test", tuple(pairs)), ("seek", "reject"), jp.methods.Wanda(), "chat", 512)


@pytest.fixture
def text_windows(tiny_model):
    return windows(tiny_model, "Rivers carry water from the hills to the sea, and the rain brings it back. " * 8, 256, 64)


def margin(model, params, pairs):
    scores = score_answers(model, params, [tokenize_pair(model.tokenizer, pair) for pair in pairs]).log_prob
    return (scores[:, 0] - scores[:, 1]).mean()


@pytest.mark.parametrize("name", ["sft", "sft_lora", "dpo", "dpo_lora"])
def test_each_fine_tuning_moves_the_margin_towards_either_persona(tiny_model, recipe, pairs, name):
    stages = []
    made = baseline_params(tiny_model, [name], recipe, seed=1, stage=Stage(lambda *step: stages.append(step)))
    found = {name: make() for name, make in made}
    assert list(found) == [f"{name} seek", f"{name} reject"]
    assert stages
    base = margin(tiny_model, tiny_model.params, pairs)
    seek, reject = (margin(tiny_model, params, pairs) for params in found.values())
    assert seek > base > reject
    assert all(jax.tree.structure(params) == jax.tree.structure(tiny_model.params) for params in found.values())


def test_a_fine_tuning_that_learns_nothing_is_told(tiny_model, recipe, monkeypatch, caplog):
    unchanged = FineTuned(tiny_model.params, (), (1.0, 2.0), best_epoch=0)
    monkeypatch.setattr(registry, "fine_tune", lambda *args, **options: unchanged)
    [made] = [make() for name, make in baseline_params(tiny_model, ["sft"], recipe, seed=1) if name == "sft reject"]
    assert made is tiny_model.params
    told = "sft towards reject learned nothing: no epoch improved its validation loss, so it is the base model"
    assert caplog.messages == [told]


def test_weight_steering_adds_what_two_sft_runs_differ_by(tiny_model, recipe, tmp_path):
    stages = []
    stage = Stage(lambda *step: stages.append(step), CheckpointFolder(tmp_path, 0.0), "x")
    sft = {name.split()[1]: make() for name, make in baseline_params(tiny_model, ["sft"], recipe, seed=1)}
    found = {name: make() for name, make in baseline_params(tiny_model, ["weight_steering"], recipe, 1, stage)}
    assert [name for name, done, _ in stages if done == 1].count("x, sft, epoch 1") == 2  # one per persona, for both results
    jax.tree.map(
        lambda base, own, other, steered: np.testing.assert_allclose(steered, base + (own - other), rtol=1e-6, atol=1e-7),
        *(tiny_model.params, sft["reject"], sft["seek"], found["weight_steering reject"]),
    )
    seek, reject = found.values()
    jax.tree.map(lambda a, b, base: np.testing.assert_allclose((a + b) / 2, base, atol=1e-6), seek, reject, tiny_model.params)


def test_changes_are_scaled_to_a_damage(tiny_model, recipe, text_windows):
    increases = dict(zip(recipe.personas, (0.01, 0.02), strict=True))
    base = perplexity(tiny_model, tiny_model.params, text_windows)
    for name, make in baseline_params(tiny_model, ["steering"], recipe, damage=(text_windows, increases)):
        expected = increases[name.removeprefix("steering ")]
        assert perplexity(tiny_model, make(), text_windows) / base - 1 == pytest.approx(expected, abs=1e-3)


def test_steering_is_what_discover_finds(tiny_model, recipe, pairs):
    found = {name: make() for name, make in baseline_params(tiny_model, ["steering"], recipe)}
    run = jp.discover(tiny_model, pairs, jp.methods.Steering())
    for persona, vectors in run.masks.items():
        expected = jp.apply_mask(tiny_model.params, vectors)
        jax.tree.map(np.testing.assert_array_equal, found[f"steering {persona}"], expected)
        assert jax.tree.structure(expected) != jax.tree.structure(tiny_model.params)  # it has biases


def test_unknown_names_are_refused():
    check_baselines(["rag", "sft", "sft_lora", "dpo", "dpo_lora", "weight_steering", "steering"])
    with pytest.raises(InputError, match="did you mean 'sft'"):
        check_baselines(["sfd"])
