"""A ``run.json`` is read as it was written, or refused in one line."""

import copy
import json

import pytest
from random_masks import random_masks
from run_records import run_record

import jaxpersona as jp
from jaxpersona.commands.run_record import persona_bundle, read_run, read_search
from jaxpersona.core.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a record, and returns the run's path."""

    def write(record):
        (tmp_path / "run.json").write_text(json.dumps(record))
        return str(tmp_path)

    return write


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"contains no run \(run.json is missing\); give the output_dir of a discover run"):
        read_run(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "run.json: damaged .*; run discover again"),
        (b"", "damaged"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "damaged"),
        (b"{}", "schema version None, this jaxpersona reads 1; run discover again"),
        (b'{"schema_version": 1, "model": {}, "masks": []}', r"damaged \(model.name is missing, or no str\)"),
        (b'{"schema_version": 2}', "schema version 2, this jaxpersona reads 1"),
        (b"[]", "schema version None"),
        (b"3", "schema version None"),
    ],
)
def test_damaged_and_newer_records_are_refused(tmp_path, text, message):
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_run(str(tmp_path))


def places(record, prefix=()):
    """Yields the place of every entry, outer ones first."""
    for key, value in record.items():
        yield (*prefix, key)
        yield from places(value, (*prefix, key)) if isinstance(value, dict) else ()


@pytest.mark.parametrize("place", list(places(run_record())), ids=".".join)
@pytest.mark.parametrize("value", [None, 7.5])
def test_a_record_without_one_of_its_entries_is_refused(write, place, value):
    record = run_record()
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    if place[0] == "masks" and len(place) == 2:
        assert list(read_search(write(record))["masks"]) == ["seek", "reject"]  # what is said of single masks may be missing
        return
    with pytest.raises(InputError, match=r"run\.json: (damaged|schema version) .*; run discover again"):
        read_search(write(record))


@pytest.mark.parametrize("masks", [{}, {"seek": {}}, {"seek": {}, "other": {}}, {"seek": {}, "reject": {}, "more": {}}])
def test_masks_are_of_the_two_personas(write, masks):
    with pytest.raises(InputError, match=r"run\.json: damaged \(masks are of .*, not of \['seek', 'reject'\]\)"):
        read_search(write(run_record(masks=masks)))


def test_sorted_keys_do_not_exchange_the_personas(write):
    record = json.loads(json.dumps(run_record(), sort_keys=True))
    assert list(record["masks"]) == ["reject", "seek"]
    assert list(read_search(write(copy.deepcopy(record)))["masks"]) == ["seek", "reject"]


def test_a_bundle_is_that_of_the_persona_it_is_asked_for(write, tmp_path, tiny_model):
    for name, folder in (("extravert", "extravert"), ("extravert", "introvert")):
        jp.save_masks(tmp_path / "masks" / folder, random_masks(tiny_model.params, 1, 0.9), {"persona": name})
    path = write(run_record(("extravert", "introvert")))
    assert persona_bundle(path, "extravert") == tmp_path / "masks" / "extravert"
    with pytest.raises(InputError, match=r"masks.introvert holds the masks of extravert; move them where they belong"):
        persona_bundle(path, "introvert")
    with pytest.raises(InputError, match=r"^persona 'seek' is unknown; known: extravert, introvert, none$"):
        persona_bundle(path, "seek")
