"""Memory-mapped arrays start as zeros; a resumed run finds them by name, and elsewhere they end with the process."""

import errno
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import WriteError
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import QUIET, Stage


def test_arrays_are_zeros_keep_what_is_written_and_have_no_name(tmp_path):
    arrays = MappedArrays(QUIET, tmp_path)
    first, second = arrays.array("a", (3, 4)), arrays.array("b", (2, 5), jnp.bfloat16)
    assert not first.any() and (first.dtype, second.dtype) == (np.float32, jnp.bfloat16)
    first[1], second[:] = 7, 2.5
    np.testing.assert_array_equal(first.sum(axis=1), [0, 28, 0])
    np.testing.assert_array_equal(jnp.asarray(second), jnp.full((2, 5), 2.5))
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_finds_arrays_by_name(tmp_path):
    def arrays():
        return MappedArrays(Stage(store=CheckpointFolder(tmp_path)))

    for seen in (0, 5):
        array = arrays().array("margin layers/mlp", (2, 3))
        assert (array == seen).all()
        array[:] = 5
        del array
    arrays().temporary((2, 3))
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == ["margin-layers.mlp.bin"]
    CheckpointFolder(tmp_path).clear()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_temporary_files(tmp_path):
    code = f"""
import os, pathlib, signal
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import QUIET
MappedArrays(QUIET, pathlib.Path({str(tmp_path)!r})).array("a", (1000,))[:] = 1
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_before_the_work(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WriteError, match=r"no room for 4.0 GB of temporary files in .* \(No space left on device\)"):
        MappedArrays(QUIET, tmp_path).array("a", (1000, 1000, 1000))
    assert not list(tmp_path.iterdir())
