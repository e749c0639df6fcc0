"""The command ``push`` uploads a folder, or prints what it would upload."""

import re

import pytest
from evaluation_record import evaluation_record
from fake_hub import fake_hub
from random_masks import random_masks

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.evaluation.certificate import certify, evaluation_entry
from jaxpersona.masks.digest import digest


@pytest.fixture
def bundle(tiny_model, tmp_path):
    """Returns the folder of a mask with a certificate."""
    mask = random_masks(tiny_model.params, 0, 0.9)
    jp.save_masks(tmp_path / "gain", mask, {"persona": "gain", "model": "tiny"})
    entry = evaluation_entry(evaluation_record(), "gain", ("gain", "loss"))
    certify(tmp_path / "gain", "gain", digest(mask), evaluation=entry)
    return tmp_path / "gain"


@pytest.fixture
def push(capsys, tmp_path):
    """Returns a function that runs the command beside a hub; it returns the hub, exit status, output and errors."""
    with fake_hub(tmp_path / "cache") as hub:

        def run(*argv):
            with pytest.raises(SystemExit) as left:
                cli.main("push", [str(argument) for argument in argv])
            return (hub, left.value.code, *capsys.readouterr())

        yield run


def test_a_dry_run_prints_and_uploads_nothing(push, bundle):
    hub, status, out, _ = push(bundle, "--repository", "owner/gain", "--dry_run", "true")
    assert (status, hub.requests) == (0, [])
    assert "# owner/gain" in out and re.search(r"\d bytes  metadata.json", out)


def test_the_address_of_the_upload_is_printed(push, bundle):
    hub, status, out, _ = push(bundle, "--repository", "owner/gain", "--licence", "mit", "--private", "true")
    assert (status, out) == (0, f"Uploaded: {hub.url}/owner/gain\n")
    assert hub.private == {"owner/gain"} and b'license: "mit"' in hub.repositories["owner/gain"]["README.md"]


def test_what_cannot_be_uploaded_is_one_line(push, tmp_path):
    hub, status, out, err = push(tmp_path / "none", "--repository", "owner/gain")
    assert (status, out, err.count("\n"), hub.requests) == (2, "", 1, [])
    assert "none is no folder; give that of a bundle, a run or an export" in err
