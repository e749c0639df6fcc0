"""Masked products are timed beside dense ones and a model per persona."""

import pytest

from jaxpersona.benchmarks import kernels
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.core.errors import InputError


def test_kernels_are_timed_beside_dense_weights_and_a_model_each(monkeypatch):
    monkeypatch.setattr(kernels, "_WORKING_SET", 1e5)
    monkeypatch.setattr(kernels, "_SHAPES", {(4096, 4096): 2})
    rows = kernels.run(BenchmarkConfig(personas=[1, 2], rows=4, prefill=8, divide=64, dtype="float32", repeats=2)).rows
    names = [row.name for row in rows]
    assert names[:2] == ["kernels/decoding, 1 persona: beside dense", "kernels/decoding, 1 persona: beside a model each"]
    assert names[-1] == "kernels/prefill of 8: beside dense"
    assert len(rows) == 5
    assert all(row.value > 0 and row.baseline and row.unit == "ms" for row in rows)


def test_rows_that_do_not_divide_and_tuning_on_a_cpu_are_refused():
    with pytest.raises(InputError, match=r"personas 3: rows \(16\) must be a multiple of it"):
        kernels.run(BenchmarkConfig(personas=[3]))
    with pytest.raises(InputError, match="nothing to tune on cpu"):
        kernels.run(BenchmarkConfig(tune=True))
