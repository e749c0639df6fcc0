"""The command ``show`` prints a bundle and its certificate, or says why it does not."""

import json

import pytest
from evaluation_record import evaluation_record
from random_masks import random_masks
from run_records import run_record

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.evaluation.certificate import FILE, certify, evaluation_entry
from jaxpersona.masks.digest import digest

PERSONAS = ("gain", "loss")


@pytest.fixture(scope="module")
def masks(tiny_model):
    return {persona: random_masks(tiny_model.params, seed, 0.9) for seed, persona in enumerate(PERSONAS)}


@pytest.fixture
def run(masks, tmp_path):
    """Returns a run's folder with two bundles, the first of which has a certificate."""
    for persona, mask in masks.items():
        about = {"persona": persona, "personas": list(PERSONAS), "model": "tiny[b]", "fingerprint": "f" * 64, "seed": 7}
        method = {"name": "wanda", "sparsity": 0.1, "overrides": {}}
        jp.save_masks(tmp_path / "masks" / persona, mask, {**about, "method": method, "pairs": 4, "data": "found.csv"})
    entry = evaluation_entry(evaluation_record("held.csv"), "gain", PERSONAS)
    measured = {"evaluation": entry, "entanglement": {"builtin:power": {"accuracy_change": -0.1, "ci95": [-0.22, 0.02]}}}
    measured["capability"] = {"mmlu": {"metric": "acc", "value": 0.25, "stderr": 0.0125, "n": 400}}
    certify(tmp_path / "masks" / "gain", "gain", digest(masks["gain"]), **measured)
    (tmp_path / "run.json").write_text(json.dumps(run_record(PERSONAS)))
    return tmp_path


@pytest.fixture
def show(capsys, monkeypatch):
    """Returns a function that runs the command; it returns exit status, output and errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*argv):
        with pytest.raises(SystemExit) as left:
            cli.main("show", [str(argument) for argument in argv])
        return (left.value.code, *capsys.readouterr())

    return call


def lines_of(out):
    """Returns the second column of the tables by the first."""
    return {key.strip(): value.strip() for key, _, value in (line.strip().partition("  ") for line in out.splitlines())}


@pytest.mark.parametrize("how", ["{}", "--bundle={}"])
def test_a_certificate_is_printed(run, show, masks, how):
    status, out, err = show(how.format(run / "masks" / "gain"))
    assert (status, err) == (0, "")
    lines = lines_of(out)
    assert lines["persona"] == "gain of gain and loss" and lines["model"] == "tiny[b]"
    assert lines["method"] == "wanda (sparsity 0.1)"
    assert lines["removed weights"] == f"{1 - masks['gain'].kept():.1%}".replace("%", " %")
    assert lines["prefers own answers"] == "75.0 % (95 %: 65.0 to 85.0) of 60 pairs; base model 50.0 %"
    assert lines["separation from the opposite"] == "50.0 points (95 %: 35.0 to 65.0), p < 0.001"
    assert lines["own answers, nats per token"] == "4.20; change −0.25 (95 %: −0.33 to −0.17)"
    assert lines["opposite answers, nats per token"] == "4.50; change +0.05 (95 %: −0.03 to +0.14)"
    assert lines["perplexity"] == "20.40 on builtin:neutral; base model 20.00, +2.0 %"
    assert lines["control random gain"] == "−5.0 points (95 %: −17.0 to 7.0), p = 0.61; perplexity +120 %"
    assert lines["measured on"].startswith("60 pairs of held.csv (SHA-256 abababababababab)")
    assert lines["capability, mmlu"] == "25.0 % (acc, standard error 1.2 %, 400 questions)"
    assert lines["moves builtin:power"] == "−10.0 points (95 %: −22.0 to 2.0)"
    assert lines["command"] == "python -m jaxpersona.evaluate --run=runs/x"


def test_a_bundle_without_a_certificate_says_how_to_get_one(run, show):
    status, out, _ = show(run / "masks" / "loss")
    assert status == 0 and "wanda" in out
    assert f"No certificate: these masks have not been evaluated. Run python -m jaxpersona.evaluate --run {run}" in out
    (run / "run.json").unlink()
    assert f"--masks {run / 'masks' / 'loss'} --data.source PAIRS --output_dir DIR" in show(run / "masks" / "loss")[1]


def test_a_run_shows_both_bundles(run, show):
    status, out, _ = show(run)
    assert status == 0
    assert out.count("Mask bundle ") == 2 and "Certificate of gain" in out and "No certificate" in out


def test_what_was_not_measured_is_said(run, show, masks):
    record = evaluation_record()
    record["separation"] = []
    for row in record["results"]:
        row["perplexity"] = row["own_nll_change"] = None
    certify(run / "masks" / "gain", "gain", digest(masks["gain"]), evaluation=evaluation_entry(record, "gain", PERSONAS))
    lines = lines_of(show(run / "masks" / "gain")[1])
    assert lines["separation from the opposite"] == lines["perplexity"] == "not measured"
    assert lines["own answers, nats per token"] == "4.20"


def swap_masks(run):
    (run / "masks" / "loss" / FILE).write_text((run / "masks" / "gain" / FILE).read_text())
    return run / "masks" / "loss"


def damage_words(run):
    next(path for path in (run / "masks" / "gain" / "words").rglob("*") if path.is_file()).write_bytes(b"?")
    return run / "masks" / "gain"


def damage_certificate(run):
    (run / "masks" / "gain" / FILE).write_text("{")
    return run / "masks" / "gain"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (swap_masks, "certificate.json is of other masks ("),
        (damage_words, "is damaged (SHA-256 differs); discover the masks again"),
        (damage_certificate, "certificate.json: damaged (not the JSON that was written); evaluate the masks again"),
        (lambda run: run / "nowhere", "nowhere is not a mask bundle (metadata.json is missing); give DIR/masks/PERSONA of a run"),
        (lambda run: run / "run.json", "run.json is not a mask bundle (metadata.json is missing)"),
    ],
)
def test_other_masks_and_damage_are_refused_with_one_line(run, show, spoil, message):
    status, _, err = show(spoil(run))
    assert status == 2
    assert err.count("\n") == 1 and err.startswith("error: ") and message in err


def test_a_bundle_must_be_named(show):
    assert show() == (2, "", "error: the following arguments are required: bundle\n")
    assert "unexpected argument 'b'" in show("a", "b")[2]
