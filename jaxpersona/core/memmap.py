"""Memory-mapped arrays for data as large as the model or its masks."""

import os
import pathlib
import tempfile
from typing import IO, Any

import numpy as np

from jaxpersona.core.errors import WriteError
from jaxpersona.core.stage import Stage


class MappedArrays:
    """Creates memory-mapped arrays, whose pages the system can write to files and drop from memory.

    Args:
      stage: if it keeps checkpoints, files go to its folder, and a resumed run finds named arrays again.
      scratch: otherwise, the folder for unnamed files, whose space is freed with the array or the process; None is the system's.
    """

    def __init__(self, stage: Stage, scratch: pathlib.Path | None = None):
        self._kept = stage.arrays
        self._folder = self._kept or scratch or pathlib.Path(tempfile.gettempdir())
        if self._kept:
            self._kept.mkdir(exist_ok=True)

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Returns the array of this name as an earlier process left it, or zeros; the caller must know which parts are valid.

        Raises:
          WriteError: when the disk has no room for it; a later page fault would crash the process.
        """
        if self._kept is None:
            return self.temporary(shape, dtype)
        path = self._kept / f"{name.replace('/', '.').replace(' ', '-')}.bin"
        with path.open("rb+" if path.exists() else "wb+") as file:
            return self._mapped(file, shape, dtype)

    def temporary(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Returns zeros in an unnamed file.

        Raises:
          WriteError: as ``array``.
        """
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return self._mapped(file, shape, dtype)

    def _mapped(self, file: IO[bytes], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        try:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise WriteError(
                f"no room for {size / 1e9:.1f} GB of temporary files in {self._folder} ({error.strerror}); "
                "make room there or choose another output_dir"
            ) from None
        return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
