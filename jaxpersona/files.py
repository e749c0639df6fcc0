"""Where files are cached, and writing so that nobody ever sees half a file."""

import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import platformdirs


def cache_folder() -> pathlib.Path:
    """The user's cache folder for jaxpersona; the environment variable ``JAXPERSONA_CACHE`` moves it."""
    folder = os.environ.get("JAXPERSONA_CACHE") or platformdirs.user_cache_dir("jaxpersona")
    return pathlib.Path(folder).expanduser()


def sha256(path: pathlib.Path) -> str:
    """Hexadecimal SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary file in the same folder to write to; it becomes ``path`` when the block ends, and goes where that fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: pathlib.Path, contents: str | bytes) -> None:
    """Writes ``contents`` (text as UTF-8) under a temporary name in the same folder, then renames it to ``path``."""
    with replacing(path) as temporary:
        temporary.write_bytes(contents.encode() if isinstance(contents, str) else contents)
