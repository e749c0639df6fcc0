"""Communication volumes are those that counting by hand gives."""

import pytest

from jaxpersona.benchmarks import mesh
from jaxpersona.benchmarks.config import BenchmarkConfig


def test_statistics_send_their_moments_over_data_and_masks_nothing():
    rows = mesh.run(BenchmarkConfig(devices=[2], rows=2, length=64, divide=64)).rows
    value = {row.name.removeprefix("mesh/"): row.value for row in rows}
    assert len(rows) == 6 * 2 * 2
    layers, personas, moments, channels = 32, 2, 3, 3 * 64 + 224
    for scaling in ("strong", "weak"):
        sent = value[f"2x1 {scaling}: a device sends for statistics of a batch"]
        assert sent == layers * personas * moments * channels * 4 / 1e6  # 2 S (g - 1) / g with g = 2
        assert value[f"2x1 {scaling}: a device sends for masks"] < 0.001  # whether scores tie anywhere
    kernels = layers * (64 * 64 + 224 * 64) * 4  # those split by inputs, which a CPU exchanges as float32
    assert value["1x2 strong: a device sends for masks"] == pytest.approx(kernels / 2 / 2 / 1e6, abs=0.001)
    assert value["1x2 weak: parameters, most over fewest"] == 1
    assert value["1x2 weak: parameters of a device"] < 0.51 * value["2x1 weak: parameters of a device"]
