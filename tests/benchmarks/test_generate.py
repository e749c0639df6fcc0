"""Generation is timed for every batch size."""

from jaxpersona.benchmarks import generate
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_every_batch_is_timed(tiny_folder, pairs_file, in_process):
    config = BenchmarkConfig(
        model=str(tiny_folder), data=pairs_file, batches=[1, 2], new_tokens=5, dtype="float32", repeats=1, baseline=False
    )
    rows = generate.run(config).rows
    assert [(row.name, row.unit) for row in rows] == [("generate/batch 1", "tokens/s"), ("generate/batch 2", "tokens/s")]
    assert all(row.value > 0 for row in rows)


def test_every_token_asked_for_is_generated(tiny_model, monkeypatch):
    asked = []
    generate_ids = generate.generate_ids

    def spy(*args):
        asked.append([len(row) for row in generate_ids(*args)])
        return [[0] * length for length in asked[-1]]

    monkeypatch.setattr(generate, "generate_ids", spy)
    options = {"model": tiny_model.name, "dtype": "float32", "prompts": ["Gold?", "Iron, or land?"], "batches": [1, 2]}
    found = generate.measure({**options, "new_tokens": 5, "repeats": 2}, {})["values"]
    assert asked == [[5]] * 3 + [[5, 5]] * 3
    assert [len(rates) for _, rates in found.values()] == [2, 2]
