"""Masks are uploaded whole, with a card that has the figures of their certificates, and load again from the hub."""

import re

import pytest
import yaml
from conftest import same
from evaluation_record import evaluation_record
from fake_hub import fake_hub
from markdown_it import MarkdownIt
from random_masks import random_masks

import jaxpersona as jp
from jaxpersona.evaluation.certificate import certify, evaluation_entry
from jaxpersona.exporters.push_to_hub import repository_contents
from jaxpersona.masks.digest import digest

PERSONAS = ("gain", "loss")


@pytest.fixture(scope="module")
def masks(tiny_model):
    return {persona: random_masks(tiny_model.params, seed, 0.9) for seed, persona in enumerate(PERSONAS)}


@pytest.fixture(scope="module")
def run(masks, tiny_model, tmp_path_factory):
    """A run's folder with certified masks of both personas."""
    folder = tmp_path_factory.mktemp("runs") / "wealth"
    for persona, mask in masks.items():
        about = {
            "persona": persona,
            "personas": PERSONAS,
            "model": "smollm2-135m-instruct",
            "fingerprint": tiny_model.fingerprint,
        }
        jp.save_masks(folder / "masks" / persona, mask, {**about, "method": {"name": "taylor"}, "data": "a|b.csv", "pairs": 8})
        entry = evaluation_entry(evaluation_record(), persona, PERSONAS)
        certify(folder / "masks" / persona, persona, digest(mask), evaluation=entry)
    (folder / "run.json").write_text("{}")
    (folder / "answers.jsonl").write_text("private")
    (folder / "masks" / "gain" / ".hidden").write_text("private")
    return folder


@pytest.fixture
def server(tmp_path):
    with fake_hub(tmp_path / "cache") as server:
        yield server


def test_both_masks_of_a_run_load_again(server, run, masks, tiny_model):
    assert jp.push_to_hub(run, "owner/wealth", licence="apache-2.0", private=True) == f"{server.url}/owner/wealth"
    assert server.private == {"owner/wealth"}
    for persona, mask in masks.items():
        assert same(jp.load_masks(f"hub:owner/wealth/{persona}", tiny_model), mask)
    files = server.repositories["owner/wealth"]
    assert {name.partition("/")[0] for name in files} == {"gain", "loss", "README.md", "MODEL_CARD.md"}
    assert b"private" not in b"".join(files.values())
    assert "gain/certificate.json" in files


def test_one_bundle_lies_at_the_top(server, run, masks, tiny_model):
    jp.push_to_hub(run / "masks" / "loss", "owner/loss")
    assert same(jp.load_masks("hub:owner/loss", tiny_model), masks["loss"])
    assert 'jp.load_masks("hub:owner/loss", model)' in server.repositories["owner/loss"]["README.md"].decode()


def test_the_card_says_what_was_measured(run, masks):
    contents = repository_contents(run, "owner/wealth", licence="apache-2.0")
    card = contents["README.md"].decode()
    assert contents["MODEL_CARD.md"] == contents["README.md"]
    about = yaml.safe_load(card.split("---")[1])
    assert about["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and about["license"] == "apache-2.0"
    assert about["library_name"] == "jaxpersona"
    assert 'model = jp.load_model("smollm2-135m-instruct")' in card and '"hub:owner/wealth/gain"' in card
    assert digest(masks["gain"])[:16] in card and digest(masks["loss"])[:16] in card
    assert "| prefers own answers | 75.0 % (95 %: 65.0 to 85.0) of 60 pairs; base model 50.0 % |" in card
    assert "| control random gain | " in card and "a\\|b.csv" in card
    kinds = [token.type for token in MarkdownIt().enable("table").parse(card.split("---", 2)[2])]
    assert kinds.count("table_open") == 4 and kinds.count("heading_open") == 4 and kinds.count("paragraph_open") == 4


def test_an_export_needs_the_masks_that_it_was_made_with(server, run, tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    (export / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(jp.InputError, match=r"export holds no masks; for an exported model give the bundles of its masks"):
        jp.push_to_hub(export, "owner/model")
    jp.push_to_hub(export, "owner/model", bundles=[run / "masks" / "gain"])
    files = server.repositories["owner/model"]
    assert files["model.safetensors"] == b"weights" and len(files) == 3
    assert b"A model under a persona mask" in files["README.md"] and b"load_masks" not in files["README.md"]


def test_what_cannot_be_uploaded_is_refused(run, masks, tmp_path):
    jp.save_masks(tmp_path / "new", masks["gain"], {})
    (tmp_path / "empty").mkdir()
    for path, bundles, message in (
        (tmp_path / "none", (), "none is no folder; give that of a bundle, a run or an export"),
        (tmp_path / "new", (), "have no certificate to make a card from; run python -m jaxpersona.evaluate first"),
        (run, [run / "masks" / "gain"], "holds masks, which have certificates of their own; leave out the bundles"),
        (tmp_path / "empty", [run / "masks" / "gain"], "empty is no export (it has no weights or masks)"),
        (
            tmp_path,
            [run / "masks" / "gain"],
            "is no export (it has no weights or masks); give the folder that export has written",
        ),
    ):
        with pytest.raises(jp.InputError, match=re.escape(message)):
            repository_contents(path, "owner/x", bundles)


@pytest.mark.parametrize("repository", ["x", "a/b/c", "owner/", "/x", "owner/x y"])
def test_a_repository_has_an_owner_and_a_name(run, repository):
    with pytest.raises(jp.InputError, match=f"^repository '{repository}'"):
        repository_contents(run, repository)


def test_masks_changed_since_they_were_certified_are_refused(server, run, masks, tmp_path):
    certificate = (run / "masks" / "gain" / "certificate.json").read_bytes()
    jp.save_masks(tmp_path / "gain", masks["loss"], {})
    (tmp_path / "gain" / "certificate.json").write_bytes(certificate)
    with pytest.raises(jp.InputError, match=r"certificate.json is of other masks"):
        jp.push_to_hub(tmp_path / "gain", "owner/gain")
    assert server.requests == []


def test_the_persona_of_the_matching_answers_comes_first(masks, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    for persona, mask in masks.items():
        jp.save_masks(tmp_path / "masks" / persona, mask, {"persona": persona, "personas": ["loss", "gain"]})
        certify(tmp_path / "masks" / persona, persona, digest(mask))
    card = repository_contents(tmp_path, "owner/x")["README.md"].decode()
    assert card.index("## loss") < card.index("## gain") and "hub:owner/x/loss" in card
