"""Arrays on disk instead of in memory: temporary files, memory-mapped, of what is as large as the model."""

import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxpersona.errors import InputError


class Scratch:
    """Gives out arrays whose pages the system writes to files in ``folder``, and drops from memory, as it sees fit."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._count = 0

    def array(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """A new array of zeros.

        Raises:
          InputError: when the disk has no room for it; to find out later would be a crash.
        """
        self._count += 1
        path, size = self._folder / f"{self._count}.bin", int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            raise InputError(
                f"no room for {size / 1e9:.1f} GB of temporary files in {self._folder.parent} ({error.strerror}); "
                "make room there or choose another output_dir"
            ) from None
        return np.memmap(path, dtype, "r+", shape=shape)


@contextmanager
def scratch_in(folder: pathlib.Path | None) -> Iterator[Scratch]:
    """A ``Scratch`` in a temporary folder within ``folder`` (None: the system's), which is removed on leaving."""
    with tempfile.TemporaryDirectory(prefix=".jaxpersona-", dir=folder) as name:
        yield Scratch(pathlib.Path(name))
