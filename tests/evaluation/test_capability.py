"""Scores of lm-eval are compared on the questions that both cases answered."""

import numpy as np
import pytest

from jaxpersona.evaluation.capability import comparison, scores

GROUP = {
    "results": {"all": {"acc,none": 0.5, "acc_stderr,none": 0.1}, "a": {"acc,none": 0.25, "acc_stderr,none": "N/A"}, "b": {}},
    "n-samples": {"a": {"effective": 4}, "b": {"effective": 6}},
    "group_subtasks": {"all": ["a", "b"]},
    "versions": {"a": 2},
}


def test_groups_count_the_questions_of_their_tasks_and_samples_keep_their_filter():
    rows = [{"doc_id": n, "doc_hash": "f" * 64, "acc": n / 2, "filter": name} for n in (0, 1) for name in ("none", "strict")]
    found = scores(GROUP, {"a": rows})
    assert {task: (row["n"], row["version"], row["stderr"]) for task, row in found.items()} == {
        "all": (10, None, 0.1),
        "a": (4, 2, None),
    }
    assert found["a"]["samples"] == {"0-ffffffff": 0.0, "1-ffffffff": 0.5} and found["all"]["samples"] == {}


def test_samples_of_which_the_value_is_not_the_mean_are_left_out():
    """As in lm-eval, a sample's ``perplexity`` is a log-likelihood."""
    results = {"results": {"a": {"perplexity,none": float(np.exp(3.0))}}, "n-samples": {"a": {"effective": 2}}}
    rows = [{"doc_id": n, "doc_hash": "f" * 64, "perplexity": -3.0} for n in (0, 1)]
    assert scores(results, {"a": rows})["a"]["samples"] == {}


def test_the_setting_is_kept():
    outer = {"n-shot": {"a": 5}, "chat_template_sha": "c", "system_instruction_sha": None, "fewshot_as_multiturn": True}
    expected = {"num_fewshot": 5, "chat_template_sha": "c", "system_instruction_sha": None, "fewshot_as_multiturn": True}
    assert scores({**GROUP, **outer}, {})["a"]["setting"] == expected


def entry(values, value=0.5, stderr=0.1, version=1, setting=None):
    samples = {f"{n}-x": one for n, one in values.items()}
    found = {"metric": "acc", "value": value, "stderr": stderr, "n": 9, "version": version, "samples": samples}
    return {**found, "setting": setting}


def test_shared_questions_are_paired():
    rng = np.random.default_rng(0)
    base = {n: float(rng.random() < 0.7) for n in range(200)}
    own = {n + 1: base[n + 1] if rng.random() < 0.9 else 0.0 for n in range(199)}
    found = comparison(entry(own), entry(base))
    differences = np.array([own[n] - base[n] for n in own])
    half = 1.96 * differences.std() / np.sqrt(len(differences))
    assert found["paired"] == 199 and found["difference"] == pytest.approx(differences.mean())
    assert found["ci95"] == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.01)


def test_without_shared_questions_the_interval_follows_from_the_standard_errors():
    found = comparison(entry({}, 0.25, 0.03), entry({}, 0.5, 0.04))
    assert (found["difference"], found["paired"]) == (-0.25, 0)
    assert found["ci95"] == pytest.approx((-0.25 - 1.96 * 0.05, -0.25 + 1.96 * 0.05))
    assert comparison(entry({}, stderr=None), entry({}))["ci95"] is None


def test_other_versions_settings_and_no_base_model_are_not_compared():
    assert comparison(entry({}), entry({}, version=2)) == comparison(entry({}), None) == {}
    assert comparison(entry({}, setting={"num_fewshot": 0}), entry({}, setting={"num_fewshot": 5})) == {}
