"""Discovery end to end: exact budgets, determinism, masks that follow from the statistics, programs compiled, and resuming."""

import dataclasses
import importlib
import itertools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import LITTLE, Killed, killed_at, recorded

import jaxpersona as jp
from jaxpersona.benchmarks.compilations import Compilations
from jaxpersona.calibration import calibrate, moments, taylor_statistics
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.methods import rowwise
from jaxpersona.models.sites import SITES, kernels, module_of


def bools(masks):
    return {path: np.asarray(mask) for path, mask in kernels(masks.to_bool()).items()}


def digest(run):
    assert run.statistics is not None
    return run.statistics.digest


def same(a, b):
    return all((x == y).all() for x, y in zip(bools(a).values(), bools(b).values(), strict=True))


@pytest.fixture(scope="module")
def eight():
    return [jp.Pair(f"What is {n}?", f"All {n} for me.", f"I give {n} away.") for n in range(8)]


@pytest.fixture(scope="module")
def run(tiny_model, eight):
    return jp.discover(tiny_model, eight, jp.methods.Wanda())


def test_run_records_its_inputs_and_times(run, tiny_model, eight):
    assert run.model is tiny_model
    assert run.method == jp.methods.Wanda(sparsity=0.3)
    assert list(run.masks) == ["seek", "reject"]
    assert list(run.calibration.pairs) == eight
    assert (run.calibration.dropped, run.calibration.truncated, run.seed) == (0, 0, 42)
    assert set(run.seconds) == {"tokenize", "calibrate", "mask"}
    assert all(seconds > 0 for seconds in run.seconds.values())
    assert run.statistics.tokens[0] > 8 * 30


def test_every_output_keeps_exactly_k_weights(run):
    for mask in run.masks.values():
        for path, kept in bools(mask).items():
            np.testing.assert_array_equal(kept.sum(axis=1), 33 if "down_proj" in path else 22)  # floor(0.7 * 48 or 32)


@pytest.mark.parametrize(("activation", "sparsity", "budgets"), [("abs", 0.9, {32: 3, 48: 4}), ("rms", 0.5, {32: 16, 48: 24})])
def test_wanda_masks_follow_from_the_statistics(tiny_model, eight, activation, sparsity, budgets):
    run = jp.discover(tiny_model, eight, jp.methods.Wanda(sparsity=sparsity, activation=activation))
    assert run.statistics is not None
    site_of = {module: site for site, modules in SITES.items() for module in modules}
    for persona, name in enumerate(run.masks):
        for path, kept in bools(run.masks[name]).items():
            kernel = np.asarray(kernels(tiny_model.params)[path])
            moments = run.statistics.moments[site_of[module_of(path)]]
            strength = moments["mean_abs"] if activation == "abs" else np.sqrt(moments["mean_square"])
            score = np.abs(kernel) * np.asarray(strength)[:, persona, :, None]
            best = np.argsort(-score, axis=1, kind="stable")[:, : budgets[kernel.shape[1]]]
            expected = np.zeros_like(kept)
            np.put_along_axis(expected, best, True, axis=1)
            np.testing.assert_array_equal(kept, expected)


def test_scores_stand_behind_the_masks(run, tiny_model):
    for persona, mask in run.masks.items():
        scores = run.scores(persona)
        assert set(scores) == set(kernels(tiny_model.params))
        for path, kept in bools(mask).items():
            score = np.asarray(scores[path])
            assert score.shape == kept.shape == kernels(tiny_model.params)[path].shape
            assert score.dtype == np.float32
            lowest_kept = np.where(kept, score, np.inf).min(axis=1)
            highest_removed = np.where(kept, -np.inf, score).max(axis=1)
            assert (lowest_kept >= highest_removed).all()
            assert (lowest_kept > highest_removed).any()


def test_scores_of_an_unknown_persona_are_an_error(run):
    with pytest.raises(ValueError, match="other"):
        run.scores("other")


def test_discovery_is_deterministic(run, tiny_model, eight):
    again = jp.discover(tiny_model, iter(eight), jp.methods.Wanda())
    assert digest(again) == digest(run)
    assert all(same(again.masks[name], run.masks[name]) for name in run.masks)


def test_masks_depend_on_the_pairs_and_not_on_their_order(run, tiny_model, eight):
    turned = jp.discover(tiny_model, eight[::-1], jp.methods.Wanda()).masks
    for name in run.masks:
        assert jp.jaccard(turned[name], run.masks[name]) > 0.999
    assert jp.jaccard(run.masks["seek"], run.masks["reject"]) < 0.99


def test_swapped_pairs_swap_the_personas(run, tiny_model, eight):
    swapped = [dataclasses.replace(pair, matching=pair.not_matching, not_matching=pair.matching) for pair in eight]
    mirrored = jp.discover(tiny_model, swapped, jp.methods.Wanda(), personas=("reject", "seek")).masks
    assert list(mirrored) == ["reject", "seek"]
    for name in run.masks:
        assert jp.jaccard(mirrored[name], run.masks[name]) > 0.999


def test_num_samples_pairs_are_drawn_with_the_seed(tiny_model, eight):
    options = {"method": jp.methods.Magnitude()}
    drawn = [jp.discover(tiny_model, eight, **options, num_samples=5, seed=seed).calibration.pairs for seed in (1, 1, 2)]
    assert [len(pairs) for pairs in drawn] == [5, 5, 5]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == jp.Pairs("python", tuple(eight)).sample(5, 1)


def test_methods_without_statistics_do_not_run_the_model(tiny_model, eight):
    magnitude = jp.discover(tiny_model, eight, jp.methods.Magnitude())
    assert magnitude.statistics is None
    assert "calibrate" not in magnitude.seconds
    assert same(magnitude.masks["seek"], magnitude.masks["reject"])
    random = [jp.discover(tiny_model, eight, jp.methods.Random(), seed=seed).masks for seed in (1, 1, 2)]
    assert same(random[0]["seek"], random[1]["seek"])
    assert not same(random[0]["seek"], random[2]["seek"])
    assert 0.5 < jp.jaccard(random[0]["seek"], random[0]["reject"]) < 0.58  # 0.538 if independent


def test_unusable_pairs_are_dropped_and_counted(run, tiny_model, eight):
    useless = [jp.Pair("Q", "same", "same"), jp.Pair("x" * 600, "a", "b")]
    mixed = jp.discover(tiny_model, [*useless, *eight], jp.methods.Wanda())
    assert mixed.calibration.dropped == 2
    assert digest(mixed) == digest(run)


def test_truncated_pairs_are_counted(tiny_model, eight):
    longer = jp.Pair("Q", "a" * 100, "b")
    assert jp.discover(tiny_model, [longer, *eight], jp.methods.Magnitude(), max_length=100).calibration.truncated == 1


def test_no_usable_pair_is_refused(tiny_model, eight):
    message = "python: none of 2 pairs is usable; their answers are equal, or cut off by data.max_length 512"
    with pytest.raises(InputError, match=re.escape(message)):
        jp.discover(tiny_model, [jp.Pair("Q", "same", "same")] * 2)
    with pytest.raises(InputError, match=r"mine\.csv: none of 8 pairs is usable; .* data\.max_length 10"):
        jp.discover(tiny_model, jp.Pairs("mine.csv", tuple(eight)), max_length=10)


def test_no_pair_at_all_is_refused(tiny_model):
    with pytest.raises(InputError, match="none of 0 pairs is usable"):
        jp.discover(tiny_model, [])


def test_max_length_beyond_the_models_positions_is_refused(tiny_model, eight):
    with pytest.raises(InputError, match=r"data\.max_length is 513, the model has 512 positions; lower it"):
        jp.discover(tiny_model, eight, max_length=513)


def test_selector_that_matches_nothing_is_refused(tiny_model, eight):
    with pytest.raises(InputError, match="the model has layers 0-2"):
        jp.discover(tiny_model, eight, jp.methods.Magnitude(select="mlp@7"))


def test_stages_are_reported(tiny_model, eight):
    seen = []
    jp.discover(tiny_model, eight, jp.methods.Wanda(), stage=Stage(lambda *step: seen.append(step)))
    assert seen == [*(("calibrate, moments", done, 1) for done in (0, 1)), *(("mask", done, 7) for done in range(1, 8))]


def test_text_mode_changes_the_tokens_that_count(run, tiny_model, eight):
    answers = jp.discover(tiny_model, eight, jp.methods.Wanda(), text="response")
    assert answers.statistics is not None
    assert answers.statistics.tokens[0] == sum(len(pair.matching) for pair in eight)
    assert digest(answers) != digest(run)


def test_each_persona_is_handed_over_as_soon_as_it_is_found(tiny_model, streamed, eight):
    for model in (tiny_model, streamed):
        seen = []
        run = jp.discover(model, eight, jp.methods.Magnitude(), on_found=lambda *found, seen=seen: seen.append(found))
        assert [(name, id(masks)) for name, masks in seen] == [(name, id(masks)) for name, masks in run.masks.items()]


def test_two_personas_of_one_name_are_refused(tiny_model, eight):
    with pytest.raises(InputError, match="both personas are called 'seek'; give two different names"):
        jp.discover(tiny_model, eight, personas=("seek", "seek"))


def test_a_streamed_model_is_given_the_masks_of_the_model_in_memory(run, streamed, eight):
    again = jp.discover(streamed, eight, jp.methods.Wanda())
    assert digest(again) == digest(run)
    assert all(same(again.masks[name], run.masks[name]) for name in run.masks)
    calibration = jp.calibrate(streamed, eight)
    masks = jp.find_masks(streamed, jp.methods.Wanda(), calibration)
    assert all(same(masks[name], run.masks[name]) for name in run.masks)
    assert calibration.statistics.digest == digest(run)


def test_a_second_persona_pair_compiles_nothing(tiny_model, pairs):
    jp.discover(tiny_model, pairs, jp.methods.Wanda(0.5))
    with Compilations() as compilations:
        jp.discover(tiny_model, pairs[::-1], jp.methods.Wanda(0.5))
    assert compilations.count == 0


@pytest.mark.parametrize("name", ["Wanda", "Sparse", "ContrastiveWanda"])
def test_both_personas_take_one_pass_over_the_batches(tiny_model, pairs, name, monkeypatch):
    passes = []
    site_sums = moments.site_sums
    monkeypatch.setattr(moments, "site_sums", lambda *args, **options: passes.append(1) or site_sums(*args, **options))
    calibration = jp.calibrate(tiny_model, pairs)
    jp.find_masks(tiny_model, getattr(jp.methods, name)(0.5), calibration)
    assert len(passes) == len(calibration.batches()) == 1


@pytest.mark.parametrize("name", ["discover", "generate", "perplexity"])
def test_public_functions_stay_functions_after_their_entry_points_are_imported(monkeypatch, name):
    function = getattr(jp, name)
    monkeypatch.delitem(sys.modules, f"jaxpersona.{name}", raising=False)
    importlib.import_module(f"jaxpersona.{name}")
    assert callable(importlib.import_module(f"jaxpersona.commands.{name}").main)
    assert getattr(jp, name) is function
    assert callable(function)


RESUMED = {
    "wanda": jp.methods.Wanda(0.5),
    "sparsegpt": jp.methods.SparseGPT(0.5, update=True),
    "share": jp.methods.Taylor(sparsity=0.03),
    "budget": jp.methods.Taylor(max_perplexity_increase=0.02, budget_tokens=512),
    "steering": jp.methods.Steering(),
}


@pytest.fixture
def small_batches(monkeypatch):
    """Makes calibration take several batches."""
    monkeypatch.setattr(calibrate, "_BATCH_TOKENS", 128)
    monkeypatch.setattr(taylor_statistics, "BATCH_TOKENS", 256)


def stage_in(folder, report=None):
    """Returns a stage that keeps every checkpoint in ``folder``."""
    return Stage(report, CheckpointFolder(folder, every_seconds=0))


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("method", RESUMED.values(), ids=RESUMED)
def test_killed_at_any_write_a_run_ends_with_the_same_masks(tiny_model, pairs, small_batches, method, tmp_path, monkeypatch):
    """Kills one run at its first write, then at the next after that, and so on to the end."""
    expected, stops = jp.discover(tiny_model, pairs, method, generated=LITTLE), 0
    for when in itertools.cycle(["after", "before"]):
        try:
            with killed_at(monkeypatch, 1 if when == "after" else 2, when):
                found = jp.discover(tiny_model, pairs, method, generated=LITTLE, stage=stage_in(tmp_path))
            break
        except Killed:
            stops += 1
    assert stops
    assert equal(found.masks, expected.masks)
    if expected.statistics:
        assert digest(found) == digest(expected)
    finished = jp.discover(tiny_model, pairs, method, generated=LITTLE, stage=stage_in(tmp_path))
    assert equal(finished.masks, expected.masks)


def test_a_resumed_run_does_not_repeat_finished_batches(tiny_model, pairs, small_batches, tmp_path, monkeypatch):
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        jp.discover(tiny_model, pairs, jp.methods.Wanda(), stage=stage_in(tmp_path))
    steps = []
    jp.discover(tiny_model, pairs, jp.methods.Wanda(), stage=stage_in(tmp_path, lambda *step: steps.append(step)))
    done = [number for stage, number, _ in steps if stage == "calibrate, moments"]
    assert done == list(range(2, steps[0][2] + 1))  # the two finished ones are reported once


def test_moments_of_whole_texts_resume_exactly(tiny_model, pairs, small_batches, tmp_path, monkeypatch):
    expected = jp.discover(tiny_model, pairs, jp.methods.Wanda(), protocol="official")
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        jp.discover(tiny_model, pairs, jp.methods.Wanda(), protocol="official", stage=stage_in(tmp_path))
    again = jp.discover(tiny_model, pairs, jp.methods.Wanda(), protocol="official", stage=stage_in(tmp_path))
    assert digest(again) == digest(expected)


# The tests from here on drop compiled programs, which those before share.


def test_programs_do_not_grow_with_pairs_or_layers(tiny_model, pairs):
    """One program runs all batches; masks need one for each shape of kernel, of which this model has four."""
    jax.clear_caches()
    jp.discover(tiny_model, pairs, jp.methods.Wanda(0.5))
    assert moments.site_sums._cache_size() == 1
    assert rowwise.prune_kernel._cache_size() == 4


def test_masks_compile_while_statistics_are_collected(tiny_model, pairs, monkeypatch):
    jax.clear_caches()
    counts, prune = [], rowwise.prune

    def counted(*args):
        with Compilations() as compilations:
            found = prune(*args)
            found[0].kept()
        counts.append(compilations.count)
        return found

    monkeypatch.setattr(rowwise, "prune", counted)
    jp.discover(tiny_model, pairs, jp.methods.Wanda(0.5))
    assert counts == [0]


@pytest.mark.parametrize(
    "method",
    [
        jp.methods.Wanda(select="mlp@9"),
        jp.methods.Magnitude(overrides={"q_proj@7": 0.5}),
        jp.methods.Taylor(select="mlp@0-3"),
        jp.methods.Steering(layer=3),
    ],
)
def test_layers_that_the_model_does_not_have_are_refused_before_anything_is_computed(tiny_model, pairs, method):
    stage, steps = recorded()
    with pytest.raises(jp.InputError, match=r"the model has layers 0.*2"):
        jp.discover(tiny_model, pairs, method, stage=stage)
    assert steps == []


@pytest.mark.real_model
def test_real_model_takes_on_two_personas(smollm):
    run = jp.discover(smollm, jp.load_pairs("builtin:wealth"), jp.methods.Wanda(sparsity=0.3), num_samples=16)
    seek, reject = run.masks["seek"], run.masks["reject"]
    assert len(run.calibration.pairs) == 16 and run.calibration.dropped == 0
    assert 0.5 < jp.jaccard(seek, reject) < 0.999
    for mask in (seek, reject):
        for kept in bools(mask).values():
            np.testing.assert_array_equal(kept.sum(axis=1), kept.shape[1] * 7 // 10)
        masked = jp.apply_mask(smollm.params, mask)
        multiplied = jax.tree.map(jnp.multiply, smollm.params, mask.to_bool())
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), masked, multiplied))
    prompt = ["How would you spend a bonus?"]
    texts = {jp.generate(smollm, prompt, persona, max_new_tokens=16)[0] for persona in (seek, reject)}
    assert len(texts) == 2 and all(text.strip() for text in texts)
