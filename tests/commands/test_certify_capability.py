"""Results of lm-eval are kept with the run, and enter the certificate of the mask that was measured, and of no other."""

import json
import shutil

import pytest
from random_masks import random_masks
from run_records import run_record

import jaxpersona as jp
from jaxpersona.commands.certify_capability import certify_capability

SCORES = {"alias": "two", "sample_len": 40, "acc,none": 0.65, "acc_stderr,none": 0.076, "acc_norm,none": 0.6}


@pytest.fixture
def run(tiny_model, tmp_path):
    jp.save_masks(tmp_path / "run" / "masks" / "gain", random_masks(tiny_model.params, 1, 0.9), {})
    (tmp_path / "run" / "run.json").write_text(json.dumps(run_record(("gain", "loss"))))
    return tmp_path / "run"


@pytest.fixture
def certified(run, tmp_path):
    """Returns a function that lets lm-eval write results, and returns the certificate."""
    (tmp_path / "out" / "model").mkdir(parents=True)

    def write(task="two", since=0.0, options=("--output_path", "out"), right=None, **asked):
        results = {
            "results": {task: SCORES if right is None else {**SCORES, "acc,none": sum(right) / len(right)}, "group": {}},
            "n-samples": {task: {"original": 570, "effective": 40}},
            "versions": {task: 1.0},
        }
        results["config"] = {"model": "jaxpersona", "model_args": {"run": str(run), "persona": "gain", **asked}}
        (tmp_path / "out" / "model" / "results_2026.json").write_text(json.dumps(results))
        rows = [{"doc_id": i, "doc_hash": f"{i}" * 64, "filter": "none", "acc": one} for i, one in enumerate(right or ())]
        (tmp_path / "out" / "model" / f"samples_{task}_2026.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        certify_capability([str(tmp_path / word) if word == "out" else word for word in options], since)
        return jp.load_certificate(run / "masks" / "gain")

    return write


def test_scores_are_entered_task_by_task(certified, capsys):
    expected = {"metric": "acc", "value": 0.65, "stderr": 0.076, "n": 40, "version": 1.0}
    assert certified()["capability"] == {"two": expected}
    assert certified("three", options=["run", "-o", "out", "--tasks", "three"])["capability"] == {
        "two": expected,
        "three": expected,
    }
    assert "capability.json" in capsys.readouterr().out


@pytest.mark.parametrize("order", [("gain", "none"), ("none", "gain")])
def test_a_mask_is_compared_with_the_base_model_whichever_came_first(certified, order):
    right = {"gain": [1.0, 0.0, 0.0], "none": [1.0, 1.0, 0.0]}
    for persona in order:
        certificate = certified(persona=persona, right=right[persona])
    found = certificate["capability"]["two"]
    assert (found["base"], found["difference"], found["paired"]) == (pytest.approx(2 / 3), pytest.approx(-1 / 3), 3)
    assert "samples" not in found


def test_scores_of_other_masks_are_dropped(certified, run, tiny_model):
    certified("two"), certified("two", persona="none")
    shutil.rmtree(run / "masks" / "gain")
    jp.save_masks(run / "masks" / "gain", random_masks(tiny_model.params, 2, 0.9), {})
    certified("two", persona="none")
    assert not (run / "masks" / "gain" / "certificate.json").exists()
    assert list(certified("three")["capability"]) == ["three"]
    cases = json.loads((run / "capability.json").read_text())["cases"]
    assert {name: list(case["tasks"]) for name, case in cases.items()} == {"gain": ["three"], "none": ["two"]}


def test_a_damaged_file_is_refused(certified, run):
    (run / "capability.json").write_text("{")
    with pytest.raises(jp.InputError, match=r"capability.json: damaged .*; delete it, and measure again"):
        certified()


@pytest.mark.parametrize(
    "changes",
    [{"persona": "none"}, {"gamma": 0.5}, {"since": 1e12}, {"options": ("--tasks", "two")}],
    ids=["base model", "softened mask", "older results", "no output"],
)
def test_other_results_are_not_entered(certified, changes):
    assert certified(**changes) is None
