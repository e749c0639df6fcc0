"""The command ``discover`` on a tiny model writes a run, or refuses with one line."""

import html.parser
import json
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from conftest import write_model
from discover_in_process import finish

import jaxpersona as jp
from jaxpersona.commands import discover
from jaxpersona.core.files import sha256
from jaxpersona.masks import bundle
from jaxpersona.models.sites import MODULES, kernels

METHOD = {"method.name": "wanda", "method.sparsity": "0.5", "method.overrides": "{mlp@0: 0.25}"}


@pytest.fixture(scope="module")
def finished(tiny_folder, pairs_csv, environment, tmp_path_factory):
    """Returns the folder of a run by the real command, configured by a YAML file and options, and the finished process."""
    work = tmp_path_factory.mktemp("work")
    text = f"model: {{name: {tiny_folder}, dtype: float32}}\n"
    text += f"data:\n  source: {pairs_csv}\n  num_samples: 4\n  personas: [gain, loss]\nseed: 7\n"
    (work / "c.yaml").write_text(text)
    options = [f"--{key}={value}" for key, value in METHOD.items()]
    command = [sys.executable, "-m", "jaxpersona.discover", "--config", "c.yaml", "--data.max_length=64", *options]
    command += ["--perplexity.max_tokens=512", "--output_dir=out"]
    environment = {**environment, "JAXPERSONA_CACHE": str(work / "cache"), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    return work / "out", done


def test_command_succeeds_and_writes_just_the_run(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in folder.iterdir()} == {"masks", "run.json", "report.html"}
    assert {path.name for path in (folder / "masks").iterdir()} == {"gain", "loss"}
    assert (folder.parent / "cache" / "compiled").is_dir()


def test_progress_and_summary_go_to_their_streams(finished):
    folder, done = finished
    record = json.loads((folder / "run.json").read_text())
    for stage in ("load", "calibrate", "mask", "perplexity, gain", "save"):
        assert stage in done.stderr
        assert f"{stage:<24}" not in done.stdout
    first = f"Perplexity of the base model on builtin:neutral: {record['perplexity']['none']:.2f}"
    assert done.stdout.startswith(first)
    assert f"{record['overlap'][-1]['jaccard']:.4f}" in done.stdout
    assert "Written: out (masks/gain, masks/loss, run.json, report.html)" in done.stdout


def test_record_says_what_was_done(finished, pairs_csv, tiny_folder, tiny_model):
    record = json.loads((finished[0] / "run.json").read_text())
    assert record["schema_version"] == 1
    assert record["config"]["method"]["sparsity"] == 0.5
    assert record["config"]["data"] == {
        "source": str(pairs_csv),
        "split": None,
        "num_samples": 4,
        "max_length": 64,
        "text": "chat",
        "personas": ["gain", "loss"],
        "generated_texts": 48,
        "generated_length": 128,
        "template_date": "2024-07-26",
        "enable_thinking": False,
    }
    assert (record["config"]["seed"], record["data"]["pairs"]) == (7, 4)
    assert record["model"]["name"] == str(tiny_folder)
    assert record["model"]["fingerprint"] == tiny_model.fingerprint
    assert set(record["data"]["tokens"]) == set(record["masks"]) == {"gain", "loss"}
    assert [row["modules"] for row in record["overlap"]] == [*MODULES, "attention", "mlp", "all"]
    assert set(record["perplexity"]) == {"none", "gain", "loss"}
    assert all(1 < value < 1e6 for value in record["perplexity"].values())
    assert {"load", "tokenize", "calibrate", "mask", "perplexity", "save"} <= set(record["seconds"])
    assert record["peak_memory_bytes"] > 1e7


def test_bundles_hold_what_the_library_finds(finished, pairs_csv, tiny_model):
    method = jp.methods.Wanda(sparsity=0.5, overrides={"mlp@0": 0.25})
    options = {"personas": ("gain", "loss"), "num_samples": 4, "max_length": 64, "seed": 7}
    run = jp.discover(tiny_model, jp.load_pairs(str(pairs_csv)), method, **options)
    for persona, masks in run.masks.items():
        loaded = jp.load_masks(finished[0] / "masks" / persona, tiny_model)
        jax.tree.map(np.testing.assert_array_equal, loaded, masks)
    assert jp.jaccard(run.masks["gain"], run.masks["loss"]) < 1


def test_report_is_html_with_the_numbers_of_the_record(finished):
    text = (finished[0] / "report.html").read_text()
    record = json.loads((finished[0] / "run.json").read_text())
    parser = html.parser.HTMLParser()
    tags = []
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(text)
    assert tags.count("table") == 2 and tags.count("h1") == 1
    for row in record["overlap"]:
        assert f"{row['jaccard']:.4f}" in text
        assert f"{100 * row['difference_rate']:.2f} %" in text
    for value in record["perplexity"].values():
        assert f"<td>{value:.2f}</td>" in text


def test_second_run_is_refused_and_changes_nothing(finished, arguments, capsys):
    folder, _ = finished
    before = {path: sha256(path) for path in folder.rglob("*") if path.is_file()}
    status, out, err = finish(capsys, arguments(output_dir=folder))
    assert (status, out) == (2, "")
    assert err == f"error: output_dir {folder} already holds a run; choose another, or --overwrite true\n"
    assert {path: sha256(path) for path in folder.rglob("*") if path.is_file()} == before


def test_overwrite_replaces_the_run_and_0_tokens_skip_perplexity(arguments, capsys, tmp_path):
    for changes in ({}, {"overwrite": "true", "data__personas": "[a,b]"}):
        status, out, err = finish(capsys, arguments(method__name="magnitude", **changes))
        assert status == 0, err
        assert "Perplexity" not in out
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["method"]["name"], record["perplexity"], record["data"]["tokens"]) == ("magnitude", {}, None)
    assert {path.name for path in (tmp_path / "run" / "masks").iterdir()} == {"a", "b"}
    assert "magnitude" in (tmp_path / "run" / "report.html").read_text()
    a, b = (jp.load_masks(tmp_path / "run" / "masks" / name) for name in "ab")
    assert jp.jaccard(a, b) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["interrupt", "disk full"])
def test_interrupted_or_failing_runs_leave_no_folder(arguments, capsys, monkeypatch, tmp_path, error):
    """Holds while there is no checkpoint to keep."""
    monkeypatch.setattr("jaxpersona.core.checkpoints.EVERY_SECONDS", 3600)

    def fail(*args):
        raise error

    monkeypatch.setattr("jaxpersona.masks.bundle._write_metadata", fail)
    status, _, err = finish(capsys, arguments(method__name="magnitude"))
    last = err.strip().splitlines()[-1]
    if isinstance(error, KeyboardInterrupt):
        assert status == 130
        assert last.startswith("interrupted: what is done is kept; resume with: python -m jaxpersona.discover --model.name=")
    else:
        assert status == 2
        assert last.startswith("error: masks could not be written to")
        assert last.endswith("(No space left on device)")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_masks_are_saved_while_perplexity_under_them_is_measured(arguments, capsys, monkeypatch):
    saving, measuring = threading.Event(), threading.Event()
    save, measure = bundle._write_metadata, discover._perplexity

    def slow_save(*args):
        saving.set()
        assert measuring.wait(timeout=120)
        save(*args)

    def slow_measure(job, model, masks):
        if masks != {"none": None}:
            measuring.set()
            assert saving.wait(timeout=120)
        return measure(job, model, masks)

    monkeypatch.setattr(bundle, "_write_metadata", slow_save)
    monkeypatch.setattr(discover, "_perplexity", slow_measure)
    status, _, err = finish(capsys, arguments(method__name="magnitude", perplexity__max_tokens="512"))
    assert status == 0, err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__source": "builtin:welth"}, "did you mean 'wealth'?"),
        ({"data__source": "missing.csv"}, "data file missing.csv does not exist"),
        ({"data__source": "pairs.txt"}, "is neither builtin:NAME nor a .csv or .jsonl file"),
        ({"data__split": "dev"}, "data.split 'dev' is unknown"),
        ({"data__max_length": 513}, "data.max_length is 513, the model has 512 positions; lower it"),
        ({"method__name": "wnada"}, "did you mean 'wanda'?"),
        ({"method__sparsity": 1}, "sparsity is 1"),
        ({"method__activation": "max"}, "activation 'max' of method wanda is unknown"),
        ({"method__max_perplexity_increase": 0.1}, "method wanda has no setting 'max_perplexity_increase'"),
        ({"method__select": "mpl"}, "did you mean 'mlp'?"),
        ({"method__select": "mlp@9"}, "layers 9 match nothing; the model has layers 0-2"),
        ({"method__overrides": "{mlp: 2}"}, "sparsity of 'mlp' is 2"),
        ({"model__name": "nowhere"}, "model 'nowhere' is not an alias, folder, .gguf file or hub name"),
        ({"model__name": "/no/such/folder"}, "model '/no/such/folder' is not an alias"),
        ({"perplexity__text": "missing.txt"}, "text file missing.txt does not exist"),
        ({"perplexity__max_tokens": 100}, "perplexity needs at least"),
        ({"output_dir": "/dev/null"}, "output_dir /dev/null is a file; choose a folder"),
        ({"output_dir": "/dev/null/x"}, "output_dir /dev/null/x cannot be written"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_leaves_no_folder(arguments, capsys, tmp_path, changes, message):
    status, _, err = finish(capsys, arguments(**changes))
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert "Traceback" not in err
    assert len(errors) == 1
    assert err.splitlines()[-1] == errors[0]
    assert message in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_answers_that_do_not_differ_are_refused(arguments, capsys, tmp_path):
    (tmp_path / "same.jsonl").write_text('{"question": "Q?", "matching": "Same.", "not_matching": "Same."}\n')
    status, _, err = finish(capsys, arguments(data__source=tmp_path / "same.jsonl"))
    assert status == 2
    assert "none of 1 pairs is usable; their answers are equal, or cut off by data.max_length 512" in err
    assert not (tmp_path / "run").exists()


def test_model_without_template_is_refused_in_chat_and_works_as_text(arguments, capsys, tmp_path):
    folder = write_model(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    status, _, err = finish(capsys, arguments(model__name=folder, method__name="magnitude"))
    assert status == 2
    assert "the model has no chat template; use --data.text prompt_response" in err
    options = {"model__name": folder, "method__name": "magnitude", "data__text": "prompt_response"}
    assert finish(capsys, arguments(**options))[0] == 0


def test_a_steering_run_says_layer_length_and_cosine_and_is_loaded_like_any(arguments, capsys, tmp_path, tiny_model):
    options = arguments(method__name="steering", method__layer=1, method__strength=0.5, data__personas="[gain, loss]")
    status, out, err = finish(capsys, options)
    assert status == 0, err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    vectors = {persona: jp.load_masks(tmp_path / "run" / "masks" / persona, tiny_model) for persona in ("gain", "loss")}
    for persona, found in vectors.items():
        assert record["masks"][persona] == {"path": f"masks/{persona}", "norm": pytest.approx(found.norms()[1])}
    assert record["overlap"] == [] and record["method"] == {"name": "steering", "layer": 1, "strength": 0.5}
    assert record["steering"]["layer"] == 1 and record["steering"]["cosine"] == pytest.approx(-1)
    assert f"{record['masks']['gain']['norm']:.2f}" in out and "-1.00" in out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The vectors for gain and loss are found" in page and f"{record['steering']['residual_length']:.2f}" in page
    assert "overlap" not in page
    run = jp.discover(tiny_model, [jp.Pair("Gold?", "Mine.", "Yours.")], jp.methods.Steering())
    with pytest.raises(jp.InputError, match="no scores"):
        run.scores("seek")


def test_a_sparsegpt_run_with_weight_update_is_written_and_loaded_like_any(arguments, capsys, tmp_path, tiny_model):
    options = arguments(method__name="sparsegpt", method__update="true", check__num_samples=0)
    status, _, err = finish(capsys, options)
    assert status == 0, err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for persona, entry in record["masks"].items():
        found = jp.load_masks(tmp_path / "run" / "masks" / persona, tiny_model)
        assert entry["kept"] == found.masks.kept() < 1
        weights = kernels(jp.apply_mask(tiny_model.params, found))
        for path, mask in kernels(found.masks.to_bool()).items():
            kept = np.asarray(weights[path])[np.asarray(mask)]
            assert (kept != np.asarray(kernels(tiny_model.params)[path])[np.asarray(mask)]).mean() > 0.5
            assert not np.asarray(weights[path])[~np.asarray(mask)].any()


def test_settings_of_steering_that_do_not_fit_are_refused(arguments, capsys):
    for options, message in (({"method__layer": 3}, "layers 0 to 2"), ({"method__sparsity": 0.3}, "no setting 'sparsity'")):
        status, _, err = finish(capsys, arguments(method__name="steering", **options))
        assert status == 2 and message in err
