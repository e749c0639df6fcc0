"""The engine is timed beside one request after another."""

import pytest

from jaxpersona.benchmarks import engine, sides
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_the_engine_is_timed_beside_one_request_after_another(tiny_folder, in_process):
    config = BenchmarkConfig(model=str(tiny_folder), personas=[3], requests=3, max_new_tokens=3, dtype="float32", repeats=1)
    speed, held, peak = engine.run(config).rows
    assert speed.name == "engine/3 requests of 3 personas, packed: beside one after another"
    assert speed.value > 0 and speed.baseline and speed.unit == "tokens/s"
    assert held.value > 1 and held.baseline is None
    assert peak.value == peak.baseline == 100
    assert len(in_process) == 3


@pytest.mark.parametrize("baseline", [True, False])
def test_few_personas_are_also_served_folded(monkeypatch, baseline):
    def run(module, task, options, environment):
        number = 10 * options["personas"] + len(options["kind"])
        return sides.Finished({engine._RATE: ("tokens/s", [number])}, {"peak memory": ("MB", [number])}, {})

    monkeypatch.setattr(sides, "run_task", run)
    rows = engine.run(BenchmarkConfig(personas=[2, 3], baseline=baseline)).rows
    names = [f"engine/8 requests of {name}" for name in ("2 personas, folded", "2 personas, packed", "3 personas, packed")]
    assert [row.name for row in rows[::2]] == [f"{name}: beside one after another" for name in names]
    assert [row.name for row in rows[1::2]] == [f"{name}: peak memory beside the model alone" for name in names]
    expected = [(26, 25), (26, 5), (26, 25), (26, 5), (36, 35), (36, 5)]
    assert [(row.value, row.baseline) for row in rows] == [(value, other if baseline else None) for value, other in expected]
