"""Arrays on disk instead of in memory, memory-mapped, of what is as large as the model or its masks."""

import os
import pathlib
import tempfile
from typing import IO, Any

import numpy as np

from jaxpersona.core.checkpoints import Checkpoints
from jaxpersona.core.errors import WriteError
from jaxpersona.models.streamed_model import StreamedModel


class Scratch:
    """Gives out arrays whose pages the system writes to files, and drops from memory, as it sees fit.

    Args:
      model: whose ``scratch`` is the folder for files without a name, which go with the array or the process, even a killed one.
      checkpoints: of a run that may go on later: all files are in their folder then, and arrays with a name are found again.
    """

    def __init__(self, model: StreamedModel, checkpoints: Checkpoints):
        self._kept = checkpoints.arrays
        self._folder = self._kept or model.scratch or pathlib.Path(tempfile.gettempdir())
        if self._kept:
            self._kept.mkdir(exist_ok=True)

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """The array of this name as another process left it, or a new one of zeros; the caller must know what to believe.

        Raises:
          WriteError: when the disk has no room for it; to find out later would be a crash.
        """
        if self._kept is None:
            return self.temporary(shape, dtype)
        path = self._kept / f"{name.replace('/', '.').replace(' ', '-')}.bin"
        with path.open("rb+" if path.exists() else "wb+") as file:
            return self._mapped(file, shape, dtype)

    def temporary(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """A new array of zeros that nobody finds again; raises as ``array``."""
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
