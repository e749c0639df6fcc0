"""Devices' limits: found by kind, or measured."""

import types

import jax
import numpy as np
import pytest

from jaxpersona.core import accelerators
from jaxpersona.core.accelerators import KNOWN, host_memory_bytes, this_accelerator


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("TPU v4", "TPU v4"),
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5e", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v5p", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
        ("TPU v6e", "TPU v6e"),
    ],
)
def test_kinds_are_known_by_the_name_jax_gives_them(monkeypatch, kind, name):
    device = types.SimpleNamespace(device_kind=kind, platform="gpu", memory_stats=lambda: {"bytes_limit": 12345})
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    found = this_accelerator()
    assert (found.name, found.memory_bytes, found.is_measured) == (name, 12345, False)


def test_a_device_that_says_nothing_of_its_memory_has_what_is_published(monkeypatch):
    device = types.SimpleNamespace(device_kind="TPU v4", platform="tpu", memory_stats=lambda: None)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert this_accelerator() == KNOWN["tpu v4"]


def test_a_cpu_is_measured(monkeypatch):
    accelerators._measured.cache_clear()
    monkeypatch.setattr(accelerators._product_flops, "__defaults__", (128,))
    monkeypatch.setattr(accelerators._bytes_per_second, "__defaults__", (2**16,))
    found = this_accelerator()
    accelerators._measured.cache_clear()
    assert found.is_measured
    assert found.memory_bytes == host_memory_bytes()
    assert min(found.flops, found.flops_float32, found.bytes_per_second) > 1e6
    assert np.isnan(this_accelerator(measure=False).flops)


def test_a_containers_limit_counts(tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("1000\n")
    assert host_memory_bytes(limit) == 1000
    limit.write_text("max\n")
    assert host_memory_bytes(limit) == host_memory_bytes(tmp_path / "missing") > 10**8
