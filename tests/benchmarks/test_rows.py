"""Ratios point the right way, and files hold what was measured."""

import json

import pytest

from jaxpersona.benchmarks.rows import place, print_rows, row, write_rows
from jaxpersona.core.errors import InputError

PLACE = {"device": "2 x CPU", "versions": {"jax": "1"}}


@pytest.mark.parametrize(("unit", "ratio"), [("s", 2.5), ("MB", 2.5), ("tokens/s", 0.4)])
def test_ratios_above_1_are_better(unit, ratio):
    found = row("x", [9.0, 2.0, 1.0], [5.0], unit, **PLACE)
    assert (found.value, found.baseline, found.ratio) == (2.0, 5.0, pytest.approx(ratio))


def test_without_a_baseline_there_is_no_ratio():
    found = row("x", [3.0], [], "s", **PLACE)
    assert found.baseline is None and found.ratio is None


def test_rows_are_written_and_printed(tmp_path, capsys):
    rows = [row("a/b", [1.0], [4.0], "s", **PLACE), row("c", [7.0], [], "of 1", **PLACE)]
    write_rows(str(tmp_path / "new" / "rows.json"), rows)
    expected = {"name": "a/b", "value": 1.0, "baseline": 4.0, "ratio": 4.0, "unit": "s", **PLACE}
    assert json.loads((tmp_path / "new" / "rows.json").read_text())[0] == expected
    print_rows(rows)
    printed = capsys.readouterr().out
    assert "a/b" in printed and "ratio above 1: ours is better" in printed and "2 x CPU; jax 1" in printed


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/rows.json could not be written"):
        write_rows(str(tmp_path / "file" / "rows.json"), [])


def test_versions_are_those_of_both_sides():
    found = place("CPU", {"versions": {"torch": "2", "threads": 2}})
    assert found["versions"]["torch"] == "2" and found["versions"]["threads"] == "2" and "jax" in found["versions"]
