"""Random models are timed, and exponents are slopes."""

import itertools

from jaxpersona.benchmarks import scaling
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_every_size_is_timed_and_has_an_exponent(monkeypatch, in_process):
    peaks = itertools.count(1)  # the peak of a process that has run other tests need not rise
    monkeypatch.setattr(scaling, "peak_memory_bytes", lambda: next(peaks))
    monkeypatch.setattr(scaling, "_BASE", {"tokens": 2048, "layers": 1, "width": 64})
    monkeypatch.setattr(scaling, "_SIZES", {"tokens": (2048, 4096)})
    rows = scaling.run(BenchmarkConfig(dtype="float32", repeats=1)).rows
    whats = ("calibrate", "mask", "memory above start")
    names = [f"tokens {size}: {what}" for size in (2048, 4096) for what in whats]
    assert [row.name.removeprefix("scaling/") for row in rows] == [*names, *(f"tokens: exponent of {what}" for what in whats)]
    assert all(row.value > 0 for row in rows if row.unit == "s")
