"""The benchmarks of kernels and engine run on something tiny and say what they promise."""

import pytest

from jaxpersona.benchmarks.commands import engine, kernels
from jaxpersona.core.errors import InputError


def test_kernels_are_timed_beside_dense_weights_and_a_model_each(monkeypatch):
    monkeypatch.setattr(kernels, "_WORKING_SET", 1e5)
    rows = kernels.run(kernels.Config(personas=[1, 2], rows=4, prefill=8, divide=64, dtype="float32", repeats=2))
    names = [row.name for row in rows]
    assert names[:2] == ["kernels/decoding, 1 personas: beside dense", "kernels/decoding, 1 personas: beside a model each"]
    assert names[-1] == "kernels/prefill of 8: beside dense"
    assert len(rows) == 5
    assert all(row.value > 0 and row.baseline and row.unit == "ms" for row in rows)


def test_the_engine_is_timed_beside_one_request_after_another(tiny_folder):
    rows = engine.run(engine.Config(str(tiny_folder), personas=[3], requests=3, max_new_tokens=3, repeats=1))
    speeds = [row for row in rows if row.unit == "tokens/s"]
    assert [row.name for row in speeds] == ["engine/3 requests of 3 personas, packed: beside one after another"]
    assert all(row.value > 0 and row.baseline for row in speeds)
    assert all(row.value > 1 for row in rows if row.unit == "of the model's")
    assert all(row.value > 50 and row.baseline for row in rows if row.unit == "MB")
    assert len(rows) == 3


def test_rows_that_do_not_divide_and_tuning_on_a_cpu_are_refused():
    with pytest.raises(InputError, match=r"personas 3: rows \(16\) must be a multiple of it"):
        kernels.Config(personas=[3])
    with pytest.raises(InputError, match="nothing to tune on cpu"):
        kernels.run(kernels.Config(tune=True))
