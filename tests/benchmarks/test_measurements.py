"""Ratios point the right way, and files hold what was measured."""

import json

import pytest

from jaxpersona.benchmarks.measurements import Measurements, processor
from jaxpersona.core.errors import InputError


def measured():
    return Measurements("a", {"torch": "2"}, "2 x CPU")


@pytest.mark.parametrize(("unit", "ratio"), [("s", 2.5), ("MB", 2.5), ("tokens/s", 0.4)])
def test_ratios_above_1_are_better(unit, ratio):
    found = measured()
    assert found.add("x", unit, [9.0, 2.0, 1.0], [5.0]) == 2.0
    assert (found.rows[0].value, found.rows[0].baseline, found.rows[0].ratio) == (2.0, 5.0, pytest.approx(ratio))


def test_values_are_compared_by_name():
    found = measured()
    found.compare("cold: ", {"x": ("s", [1.0]), "y": ("MB", [3.0])}, {"x": ("s", [2.0, 4.0]), "z": ("s", [1.0])})
    assert [(row.name, row.unit, row.baseline, row.ratio) for row in found.rows] == [
        ("a/cold: x", "s", 3.0, 3.0),
        ("a/cold: y", "MB", None, None),
    ]


def test_rows_are_written_and_printed(tmp_path, capsys):
    found = measured()
    found.add("b", "s", [1.0], [4.0])
    found.add("c", "of 1", [7.0])
    found.write(str(tmp_path / "new" / "rows.json"))
    row = json.loads((tmp_path / "new" / "rows.json").read_text())[0]
    versions = row.pop("versions")
    assert row == {"name": "a/b", "value": 1.0, "baseline": 4.0, "ratio": 4.0, "unit": "s", "device": "2 x CPU"}
    assert versions["torch"] == "2" and "jax" in versions
    found.print()
    printed = capsys.readouterr().out
    assert "a/b" in printed and "ratio above 1: jaxpersona is better" in printed and "2 x CPU; jaxpersona" in printed


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/rows.json could not be written"):
        measured().write(str(tmp_path / "file" / "rows.json"))


def test_the_processor_has_a_name():
    cores, _, name = processor().partition(" x ")
    assert int(cores) >= 1 and name
