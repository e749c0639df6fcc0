"""Arrays in temporary files: zeros at first, gone at last, and refused where the disk has no room."""

import errno
import os

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.errors import InputError
from jaxpersona.streaming.scratch import scratch_in


def test_arrays_are_zeros_keep_what_is_written_and_vanish(tmp_path):
    with scratch_in(tmp_path) as scratch:
        first, second = scratch.array((3, 4)), scratch.array((2, 5), jnp.bfloat16)
        assert not first.any() and (first.dtype, second.dtype) == (np.float32, jnp.bfloat16)
        first[1], second[:] = 7, 2.5
        np.testing.assert_array_equal(np.asarray(first).sum(axis=1), [0, 28, 0])
        np.testing.assert_array_equal(jnp.asarray(second), jnp.full((2, 5), 2.5))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_before_the_work(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(InputError, match=r"no room for 4.0 GB of temporary files in .* \(No space left on device\)"),
        scratch_in(tmp_path) as scratch,
    ):
        scratch.array((1000, 1000, 1000))
    assert not list(tmp_path.iterdir())
