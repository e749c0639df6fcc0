"""The command ``sweep`` on a tiny model writes and prints rows and figures, resumes, or refuses with one line."""

import csv
import json
import subprocess
import sys

import pytest

import jaxpersona as jp
from jaxpersona.calibration import moments, taylor_statistics
from jaxpersona.commands import cli, sweep
from jaxpersona.evaluation.comparison import evaluate
from jaxpersona.evaluation.likelihood_changes import LIKELIHOOD_KEYS
from jaxpersona.evaluation.sweep.runner import CellRunner

METHODS = "[{name: wanda, sparsity: [0.25, 0.5]}, {name: first_order, sparsity: [0.01, 0.05]}]"


def write_pairs(path, questions, header="question,matching,not_matching"):
    rows = {
        "question,matching,not_matching": [f"What of {n}?,Gold and {n}.,I give {n} away." for n in questions],
        "question,A,B,matching": [f"What of {n}?,I give {n} away.,Gold and {n}.,B" for n in questions],
    }
    path.write_text("\n".join([header, *rows[header]]) + "\n")
    return str(path)


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "found.csv", range(8))
    write_pairs(tmp_path / "held.csv", range(20, 26), "question,A,B,matching")
    return tmp_path


@pytest.fixture
def finish(work, tiny_folder, capsys, monkeypatch):
    """Returns a function that runs the command; it returns exit status, output, errors and sweep.json.

    Figures take as long as the smaller sweeps, so they are drawn where they are wanted.
    """

    def run(*options, methods=METHODS, figures=False):
        capsys.readouterr()
        where = [f"--model.name={tiny_folder}", "--data.source=found.csv", "--held_out.source=held.csv", "--output_dir=out"]
        less = ["--data.max_length=64", "--held_out.max_length=64", "--perplexity.max_tokens=512", "--data.num_samples=4"]
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as left:
            if not figures:
                patch.setattr(sweep, "save_figures", lambda *args: [])
            cli.main("sweep", [*where, *less, f"--methods={methods}", *options])
        file = work / "out" / "sweep.json"
        return left.value.code, *capsys.readouterr(), json.loads(file.read_text()) if file.exists() else None

    return run


def rows_of(record, **place):
    return [row for row in record["rows"] if place.items() <= row.items()]


def test_every_method_budget_size_and_seed_is_a_cell_and_data_are_collected_once(finish, work, monkeypatch):
    collected = []

    def counted(name, original):
        return lambda *args, **more: collected.append(name) or original(*args, **more)

    monkeypatch.setattr(moments, "collect", counted("statistics", moments.collect))
    monkeypatch.setattr(taylor_statistics, "collect", counted("taylor", taylor_statistics.collect))
    status, out, err, record = finish("--data.num_samples=[4,6]", "--seeds=[1,2]", figures=True)
    assert status == 0, err
    assert sorted(collected) == ["statistics"] * 4 + ["taylor"] * 4  # two sizes, two seeds
    assert len(record["cells"]) == 1 + 2 * 2 * 4 and not any(cell["skipped"] for cell in record["cells"])
    found = rows_of(record, kind="method", scoring="sum")
    assert len(found) == 16
    assert {(row["method"], row["budget"]) for row in found} == {
        (method, f"sparsity={budget}")
        for method, budgets in (("wanda", (0.25, 0.5)), ("first_order", (0.01, 0.05)))
        for budget in budgets
    }
    assert {path.name for path in (work / "out").iterdir()} == {
        "sweep.json", "sweep.csv", "sweep.md", "pareto.png", "budget.png", "samples.png"
    }  # fmt: skip
    assert out.rstrip().endswith("Written: out (sweep.json, sweep.csv, sweep.md, pareto.png, budget.png, samples.png)")
    assert "cells" in err and "2 seeds: mean" in out


def test_a_cell_is_what_discover_and_evaluate_give(finish, tiny_model):
    record = finish("--seeds=3", "--model.dtype=float32")[3]
    pairs, held = jp.load_pairs("found.csv"), jp.load_pairs("held.csv").sample(200, 3)
    run = jp.discover(tiny_model, pairs, jp.methods.Wanda(sparsity=0.5), num_samples=4, max_length=64, seed=3)
    expected = evaluate(tiny_model, run.masks, held, max_length=64, neutral_tokens=512, letters=False, seed=3)
    (row,) = rows_of(record, method="wanda", budget="sparsity=0.5", scoring="per_byte")
    for persona in ("seek", "reject"):
        place = {"mask": persona, "persona": persona, "scoring": "per_byte"}
        (other,) = [other for other in expected.rows if place.items() <= other.items()]
        side = row["personas"][persona]
        for key in ("accuracy", "margin", "perplexity", "answer_nll", *LIKELIHOOD_KEYS):
            assert side[key] == pytest.approx(other[key], rel=1e-5)
        assert side["kept"] == pytest.approx(run.masks[persona].kept())
    (separation,) = [other for other in expected.separation if other["scoring"] == "per_byte"]
    assert (row["separation"], row["p_value"]) == pytest.approx((separation["separation"], separation["p_value"]))


def test_an_interrupted_sweep_of_two_sets_resumes_and_its_tables_have_both(finish, work, monkeypatch):
    sets = ["--sets=[found.csv,{source: found.csv, name: again, seeds: [7]}]", "--held_out.source=held.csv"]
    original, ran = CellRunner.run, []

    def stops(self, cell):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(cell)
        return original(self, cell)

    monkeypatch.setattr(CellRunner, "run", stops)
    status, _, err, _ = finish(*sets, methods="[magnitude]")
    assert status == 130 and "interrupted: " in err
    assert [line.startswith("| found |") for line in (work / "out" / "sweep.md").read_text().splitlines()].count(True) == 2
    monkeypatch.setattr(CellRunner, "run", lambda self, cell: ran.append(cell) or original(self, cell))
    status, out, err, _ = finish(*sets, methods="[magnitude]")
    assert status == 0, err
    assert [cell.seed for cell in ran] == [42, 42, 7, 7] and out.endswith("Written: out (sweep.md)\n")
    records = [json.loads((work / "out" / name / "sweep.json").read_text()) for name in ("found", "again")]
    assert [len(record["cells"]) for record in records] == [2, 2] and not (work / "out" / "sweep.json").exists()
    tables = (work / "out" / "sweep.md").read_text()
    assert tables.count("| found | `magnitude` |") == tables.count("| again | `magnitude` |") == 2
    assert "`magnitude`, 2 sets: median separation" in tables
    assert finish(*sets, methods="[magnitude]")[0] == 0 and len(ran) == 4


def test_a_changed_config_is_refused_and_overwrite_starts_anew(finish, work):
    assert finish()[0] == 0
    before = {path.name: path.read_bytes() for path in (work / "out").iterdir()}
    status, out, err, _ = finish("--held_out.num_samples=5")
    assert (status, out) == (2, "")
    assert [line for line in err.splitlines() if line.startswith("error: ")] == err.splitlines()[-1:]
    assert "sweep.json was made with other settings (config_held_out_num_samples: 200, now 5)" in err
    assert {path.name: path.read_bytes() for path in (work / "out").iterdir()} == before
    status, _, _, record = finish("--held_out.num_samples=5", "--overwrite=true")
    assert status == 0 and record["data"]["held_out"]["pairs"] == 5
    write_pairs(work / "held.csv", range(30, 36))
    assert "data_held_out_sha256" in finish("--held_out.num_samples=5")[2]


def test_a_changed_text_is_refused(finish, work):
    (work / "text.txt").write_text("Rivers carry water to the sea. " * 40)
    assert finish("--perplexity.text=text.txt", methods="[random]")[0] == 0
    (work / "text.txt").write_text("Rain brings the water back. " * 40)
    status, _, err, _ = finish("--perplexity.text=text.txt", methods="[random]")
    assert status == 2 and "sweep.json was made with other settings (contents_perplexity.text: " in err


def test_controls_baselines_and_prompts(finish, work):
    options = ["--controls=true", "--baselines=[prompt,rag,sft]", "--prompts=true", "--prompt_texts=[Take.,Give.]"]
    status, out, err, record = finish(*options, methods="[{name: wanda, sparsity: [0.25, 0.5], activation: [abs, rms]}]")
    assert status == 0, err
    assert [row["method"] for row in rows_of(record, kind="baseline", scoring="sum")] == ["prompt", "rag", "sft"]
    controls = [(row["method"], row["of"], row["budget"]) for row in rows_of(record, kind="control", scoring="sum")]
    budgets, names = ("sparsity=0.25", "sparsity=0.5"), ("wanda activation=abs", "wanda activation=rms")
    blind = [(control, names[0], budget) for budget in budgets for control in ("random", "magnitude", "neutral")]
    labels = [("shuffled", name, budget) for budget in budgets for name in names]
    assert controls == [("longer", "", ""), ("shorter", "", ""), ("A in the file", "", ""), *blind, *labels]
    assert {row["prompt"] for row in rows_of(record, kind="method")} == {"none", "seek", "reject"}
    lengths = {row["method"]: row["personas"]["seek"]["accuracy"] for row in rows_of(record, kind="control")}
    assert (lengths["longer"], lengths["shorter"], lengths["A in the file"]) == (0, 1, 0)
    for word in ("prompt", "rag", "sft", "random", "shuffled", "shorter"):
        assert f" {word} " in out


def test_what_a_method_refuses_is_skipped_with_the_reason(finish):
    status, out, err, record = finish("--controls=true", methods="[{name: contrastive_sparse, sparsity: [0.25, 0.5]}]")
    assert status == 0, err
    skipped = [cell for cell in record["cells"] if cell["skipped"]]
    assert [(cell["kind"], cell["settings"]) for cell in skipped] == [(k, {"sparsity": 0.25}) for k in ("method", "shuffled")]
    assert f"Skipped: contrastive_sparse (sparsity 0.25; 4 pairs, seed 42): {skipped[0]['skipped']}" in out
    assert "sparsity of at least 0.5" in skipped[0]["skipped"]
    assert [row["budget"] for row in rows_of(record, kind="method", scoring="sum")] == ["sparsity=0.5"]
    assert {row["budget"] for row in rows_of(record, kind="control", method="random")} == {"sparsity=0.5"}


def test_all_methods_take_part_under_either_protocol(finish):
    methods = [*(f"{{name: {name}, sparsity: 0.5}}" for name in ("sparse", "sparsegpt", "contrastive_wanda")), "steering"]
    status, _, err, record = finish("--protocol=paper", methods=f"[{', '.join(methods)}]")
    assert status == 0, err
    found = rows_of(record, kind="method")
    assert [row["method"] for row in found] == ["sparse", "sparsegpt", "contrastive_wanda", "steering"]
    assert {row["scoring"] for row in found} == {"sum"}
    assert [row["personas"]["seek"]["kept"] for row in found][2:] == [0.5, None]


def test_csv_has_the_numbers_of_the_rows(finish, work):
    record = finish()[3]
    with (work / "out" / "sweep.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    sides = [
        "mask",
        "accuracy",
        "ci95_low",
        "ci95_high",
        "margin",
        "missing",
        "perplexity",
        "answer_nll",
        "kept",
        "budget_increase",
    ]
    for key in LIKELIHOOD_KEYS:
        sides += [f"{key}_low", f"{key}_high"] if key.endswith("ci95") else [key]
    place = ["kind", "method", "of", "budget", "num_samples", "seed", "prompt", "scoring", "n"]
    tested = ["separation", "separation_ci95_low", "separation_ci95_high", "p_value"]
    assert set(table[0]) == {*place, *(f"{persona}_{name}" for persona in ("seek", "reject") for name in sides), *tested}
    for row, written in zip(record["rows"], table, strict=True):
        assert float(written["reject_accuracy"]) == row["personas"]["reject"]["accuracy"]
        assert float(written["separation_ci95_high"]) == row["separation_ci95"][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods=[wnada]"], "method.name 'wnada' is unknown; did you mean 'wanda'?"),
        (["--held_out.source=found.csv"], "the masks were found on 4 of the 8 pairs of found.csv"),
        (["--baselines=prompt"], "found.csv has no built-in persona prompts; give two as prompt_texts"),
        (["--baselines=[sfft]"], "baseline 'sfft' is unknown"),
        (["--held_out.max_length=20"], "held.csv: pair 1 cannot be scored"),
        (["--data.max_length=513"], "data.max_length is 513, the model has 512 positions; lower it"),
        (["--data.source=missing.csv"], "data file missing.csv does not exist"),
        (["--perplexity.max_tokens=100"], "perplexity needs at least"),
        (["--sparsity=0.3"], "unknown option 'sparsity'"),
        (["--sets=[found.csv,found.csv]"], "sets: two of them are called 'found'; give one a name"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(finish, options, message):
    status, out, err, record = finish(*options)
    assert (status, out) == (2, "")
    assert [line for line in err.splitlines() if line.startswith("error: ")] == err.splitlines()[-1:]
    assert message in err.splitlines()[-1] and record is None


def test_module_is_a_command():
    done = subprocess.run([sys.executable, "-m", "jaxpersona.sweep", "--seeds=[-1]"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "seed is -1" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("options", "text"), [([], "raw"), (["--held_out.text=response"], "response")])
def test_held_out_pairs_are_read_as_the_calibration_pairs(finish, monkeypatch, options, text):
    seen = []

    def stop(self, cell):
        seen.append(self.evaluation["text"])
        raise KeyboardInterrupt

    monkeypatch.setattr(CellRunner, "run", stop)
    assert finish("--data.text=raw", *options)[0] == 130
    assert seen == [text]
