"""A sweep's results on disk are written after every cell, and resumed only by the same sweep."""

import csv
import json

import pytest

from jaxpersona.core import processes
from jaxpersona.core.errors import InputError
from jaxpersona.evaluation.sweep.grid import Cell
from jaxpersona.evaluation.sweep.store import Store

ASKED = {"config": {"seeds": [1, 2], "data": {"personas": ("seek", "reject")}}, "model": {"name": "m"}}
FIRST = Cell("method", "wanda", (("sparsity", 0.1),), 8, 1)
SECOND = Cell("method", "wanda", (("sparsity", 0.3),), 8, 1)
ROW = {"method": "wanda", "n": 4, "personas": {"seek": {"accuracy": 0.5, "ci95": (0.1, 0.9)}}, "separation_ci95": (0.0, 0.2)}


def done(cell, skipped=None, rows=(ROW,)):
    return {**cell.identity(), "seconds": {"mask": 1.0}, "skipped": skipped, "rows": list(rows)}


def test_cells_are_kept_as_they_are_done_and_found_again(tmp_path):
    store = Store(str(tmp_path / "new"), ASKED)
    assert not store.has(FIRST)
    store.add(done(FIRST))
    again = Store(str(tmp_path / "new"), ASKED)
    assert again.record == store.record == json.loads((tmp_path / "new" / "sweep.json").read_text())
    assert again.has(FIRST) and not again.has(SECOND)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sweep.json"]
    assert (again.record["schema_version"], len(again.record["rows"]), again.record["model"]) == (1, 1, {"name": "m"})


def test_skipped_cells_are_tried_again_and_stand_there_once(tmp_path):
    for _ in range(2):
        store = Store(str(tmp_path), ASKED)
        assert not store.has(SECOND)
        store.add(done(SECOND, "needs more", ()))
    assert [cell["skipped"] for cell in store.record["cells"]] == ["needs more"]
    store.add(done(SECOND))
    assert store.has(SECOND) and len(store.record["cells"]) == 1


def test_a_sweep_that_was_asked_otherwise_is_refused_in_one_line(tmp_path):
    Store(str(tmp_path), ASKED).add(done(FIRST))
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(InputError) as error:
        Store(str(tmp_path), {**ASKED, "config": {**ASKED["config"], "seeds": [1]}})
    assert "was made with other settings (config_seeds: [1, 2], now [1])" in str(error.value)
    assert "\n" not in str(error.value) and (tmp_path / "sweep.json").read_bytes() == before


def test_overwrite_starts_anew_and_takes_away_what_was_derived(tmp_path):
    store = Store(str(tmp_path), ASKED)
    store.add(done(FIRST))
    (tmp_path / "pareto.png").write_bytes(b"old")
    (tmp_path / "mine.txt").write_text("kept")
    fresh = Store(str(tmp_path), {"config": {}}, overwrite=True)
    assert not fresh.has(FIRST) and fresh.record["rows"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("contents", "message"), [("{", "damaged"), ("[]", "contains no sweep"), ('{"a": 1}', "contains no sweep")]
)
def test_what_is_no_sweep_is_refused(tmp_path, contents, message):
    (tmp_path / "sweep.json").write_text(contents)
    with pytest.raises(InputError, match=message):
        Store(str(tmp_path), ASKED)


def test_csv_has_a_column_for_every_number(tmp_path):
    store = Store(str(tmp_path), ASKED)
    store.add(done(FIRST))
    store.write_csv()
    with (tmp_path / "sweep.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "method": "wanda",
        "n": "4",
        "seek_accuracy": "0.5",
        "seek_ci95_low": "0.1",
        "seek_ci95_high": "0.9",
        "separation_ci95_low": "0.0",
        "separation_ci95_high": "0.2",
    }


def test_processes_that_see_different_cells_do_not_continue(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "agreed", lambda text: "of other cells")
    with pytest.raises(InputError, match=rf"what {tmp_path} holds is not the same for all processes of this run"):
        Store(str(tmp_path), ASKED)


@pytest.mark.parametrize("damage", [{"cells": 3}, {"cells": [{"kind": "base"}]}, {"rows": [{}]}, {"rows": [3]}])
def test_a_damaged_record_is_refused(tmp_path, damage):
    Store(str(tmp_path), ASKED).add(done(FIRST))
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    with pytest.raises(InputError, match=r"damaged \((cells|rows) are not those of a sweep\); start anew with --overwrite true"):
        Store(str(tmp_path), ASKED)
