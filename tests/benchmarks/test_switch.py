"""Every switch is timed, the first apart."""

from jaxpersona.benchmarks import switch
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_switching_is_timed_every_time(tiny_model):
    found = switch.measure({"model": tiny_model.name, "dtype": "float32", "switches": 3}, {})["values"]
    assert {what: (unit, len(times)) for what, (unit, times) in found.items()} == {
        "persona": ("s", 2),
        "first, with compilation": ("s", 1),
    }


def test_rows(tiny_folder, in_process):
    rows = switch.run(BenchmarkConfig(model=str(tiny_folder), switches=2, dtype="float32", repeats=2, baseline=False)).rows
    assert [row.name for row in rows] == ["switch/persona", "switch/first, with compilation"]
    assert all(row.value > 0 and row.baseline is None for row in rows)
    assert in_process == [("worker", "switch")] * 2
