"""The memory of devices, host and process."""

import os
import pathlib
import platform
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from jaxpersona.core.memory import device_memory_bytes, host_memory_bytes, release_large_buffers, return_freed_memory


@pytest.mark.parametrize(("statistics", "expected"), [({"bytes_limit": 12345}, 12345), ({}, None), (None, None)])
def test_an_accelerators_memory_is_what_jax_may_use(monkeypatch, statistics, expected):
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: statistics)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert device_memory_bytes() == expected


def test_a_cpus_memory_is_the_hosts():
    assert device_memory_bytes() == host_memory_bytes() > 10**8


def test_a_containers_limit_counts_if_it_is_lower(tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("1000\n")
    assert host_memory_bytes(limit) == 1000
    whole = host_memory_bytes(tmp_path / "missing")
    assert whole > 10**8
    for text in ("max\n", f"{2 * whole}\n"):
        limit.write_text(text)
        assert host_memory_bytes(limit) == whole


PEAK = """
from jaxpersona.core.memory import peak_memory_bytes
before = peak_memory_bytes()
size = before + 100_000_000
large = bytearray(b"1") * size
del large
print(before, size, peak_memory_bytes())
"""


def test_the_peak_is_what_this_process_had_at_most():
    """A small process started by this large one has a peak of its own, which stays after memory is freed."""
    printed = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    before, size, peak = map(int, printed.split())
    assert before > 10**7
    assert size <= peak <= size + before + 20_000_000


def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_buffers_return_to_the_system():
    release_large_buffers()
    np.ones(30 * 2**20, np.uint8)  # freed at once; glibc would serve smaller buffers from its heap from now on
    large, small = [], []
    for _ in range(16):
        large.append(np.ones(8 * 2**20, np.uint8))
        small.append(np.ones(2**14, np.uint8))  # keeps the heap from shrinking
    before = resident()
    large.clear()
    assert before - resident() > 100 * 2**20
    assert len(small) == 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_small_pieces_return_when_asked_for():
    small = [bytearray(2**16) for _ in range(4096)]
    last = bytearray(2**16)  # keeps the heap from shrinking
    before = resident()
    small.clear()
    return_freed_memory()
    assert before - resident() > 100 * 2**20
    assert len(last) == 2**16
