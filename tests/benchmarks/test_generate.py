"""Generation is timed for every batch size."""

from jaxpersona.benchmarks import generate, sides
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_the_faster_dtype_of_pytorch_counts(tiny_folder, pairs_file, monkeypatch):
    def finished(options, rate):
        values = {f"batch {size}": ("tokens/s", [rate * size]) for size in options["batches"]}
        return sides.Finished(values, {}, {"versions": {"torch": "2"}})

    def torch_sides(options, dtypes):
        assert len(options["prompts"]) == 2 and dtypes == ("float32", "bfloat16")
        return {dtype: lambda rate=rate: finished(options, rate) for dtype, rate in zip(dtypes, (3.0, 4.0), strict=True)}

    monkeypatch.setattr(sides, "run_task", lambda module, task, options, environment: finished(options, 8.0))
    monkeypatch.setattr(generate, "torch_sides", lambda config, opened, task, options, dtypes: torch_sides(options, dtypes))
    rows = generate.run(BenchmarkConfig(model=str(tiny_folder), data=pairs_file, batches=[1, 2], repeats=2)).rows
    assert [row.name for row in rows] == [f"generate/batch {size}, PyTorch in bfloat16" for size in (1, 2)]
    assert [(row.value, row.baseline) for row in rows] == [(8, 4), (16, 8)]


def test_every_token_asked_for_is_generated(tiny_model, monkeypatch):
    asked = []
    generate_ids = generate.generate_ids

    def spy(*args):
        found = generate_ids(*args)
        asked.append([len(row) for row in found])
        return found

    monkeypatch.setattr(generate, "generate_ids", spy)
    options = {"model": tiny_model.name, "dtype": "float32", "prompts": ["Gold?", "Iron, or land?"], "batches": [1, 2]}
    found = generate.measure({**options, "new_tokens": 5, "repeats": 2}, {})["values"]
    assert asked == [[5]] * 3 + [[5, 5]] * 3
    assert [len(rates) for _, rates in found.values()] == [2, 2]
