"""The engine is timed beside one request after another."""

from jaxpersona.benchmarks import engine
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_the_engine_is_timed_beside_one_request_after_another(tiny_folder, in_process):
    config = BenchmarkConfig(model=str(tiny_folder), personas=[1, 3], requests=3, max_new_tokens=3, dtype="float32", repeats=1)
    rows = engine.run(config).rows
    names = [f"engine/3 requests of {name}" for name in ("1 personas, folded", "1 personas, packed", "3 personas, packed")]
    speeds = [row for row in rows if row.unit == "tokens/s"]
    assert [row.name for row in speeds] == [f"{name}: beside one after another" for name in names]
    assert all(row.value > 0 and row.baseline for row in speeds)
    assert all(row.value > 1 and row.baseline is None for row in rows if row.unit == "of the model's")
    assert all(row.value == row.baseline == 100 for row in rows if row.unit == "MB")
    assert len(rows) == 3 * 3 and len(in_process) == 3 + 2 + 1


def test_without_a_baseline_only_the_engine_runs(tiny_folder, in_process):
    config = BenchmarkConfig(
        model=str(tiny_folder), personas=[3], requests=2, max_new_tokens=2, dtype="float32", repeats=1, baseline=False
    )
    assert all(row.baseline is None for row in engine.run(config).rows)
    assert len(in_process) == 1
