"""The cache folder, file hashes, and atomic writes."""

import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import platformdirs

from jaxpersona.core.errors import InputError

_SAMPLE, _SAMPLES = 2**16, 64  # bytes per sample, number of samples


def cache_folder() -> pathlib.Path:
    """Returns the user's cache folder for jaxpersona; the environment variable ``JAXPERSONA_CACHE`` overrides it."""
    folder = os.environ.get("JAXPERSONA_CACHE") or platformdirs.user_cache_dir("jaxpersona")
    return pathlib.Path(folder).expanduser()


def sha256(path: pathlib.Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's name, size, modification time and samples, so that a large file is not read whole."""
    about = path.stat()
    digest = hashlib.sha256(f"{path.name} {about.st_size} {about.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for start in range(0, about.st_size, max(_SAMPLE, about.st_size // _SAMPLES)):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def inside(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a file that another file of ``folder`` names.

    Raises:
      InputError: if the name leads out of the folder.
    """
    path = pathlib.PurePath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{folder} names the file {name!r}, which lies outside of it; get the folder from a source you trust")
    return folder / path


def check_output_dir(folder: pathlib.Path, option: str = "output_dir") -> None:
    """Checks, before work that takes long, that files can be written into a folder, which need not exist.

    Args:
      option: the option that names it, for messages.

    Raises:
      InputError: if it is a file or lies in one, or cannot be written to.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise InputError(f"{option} {folder}: {place} is a file; choose a folder")
    if not os.access(place, os.W_OK):
        raise InputError(f"{option} {folder} cannot be written to; choose another")


def check_output_file(file: pathlib.Path, option: str = "output") -> None:
    """Checks, before work that takes long, that a file can be written; its folder need not exist.

    Args:
      option: the option that names it, for messages.

    Raises:
      InputError: if it is a folder, or as ``check_output_dir``.
    """
    if file.is_dir():
        raise InputError(f"{option} {file} is a folder; give a file")
    check_output_dir(file.parent, option)


@contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary file in the same folder; it replaces ``path`` on success and is deleted on error."""
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
