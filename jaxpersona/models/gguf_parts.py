"""Reads GGUF files that llama.cpp has split into parts, as if they were one file."""

import pathlib
import re
from typing import Any

from jaxpersona.core.errors import InputError
from jaxpersona.models.gguf_header import StoredTensor, UnsupportedError, read_header

Header = tuple[dict[str, Any], dict[str, StoredTensor]]
_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def part_paths(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the paths of all parts that the name of a GGUF file speaks of; only its own if the file is not split.

    >>> [part.name for part in part_paths(pathlib.Path("m-00002-of-00002.gguf"))]
    ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        return [path]
    return [path.with_name(f"{match[1]}-{number:05}-of-{match[3]}.gguf") for number in range(1, int(match[3]) + 1)]


def read_parts(path: pathlib.Path) -> Header:
    """Returns the metadata and all tensors of a GGUF file, whichever of its parts ``path`` is.

    Raises:
      InputError: if a part is missing, damaged, of another file, or of a version or tensor type that cannot be read.
    """
    fields, tensors = _read(path)
    count = fields.get("split.count", 0)
    if type(count) is not int or count < 2:
        return fields, tensors
    paths = part_paths(path)
    if len(paths) != count:
        raise InputError(
            f"{path}: this is a part of a file split in {count}; name it as llama.cpp does, NAME-00001-of-{count:05}.gguf"
        )
    missing = [part for part in paths if not part.is_file()]
    if missing:
        some = f"part {missing[0].name} is missing ({len(missing)} missing in all)"
        raise InputError(f"{path}: this is a part of a file split in {count}, and {some}; put all parts in one folder")
    return _joined(paths)


def _joined(paths: list[pathlib.Path]) -> Header:
    """Returns the metadata of the first part and the tensors of all."""
    joined: dict[str, StoredTensor] = {}
    headers = [_read(path) for path in paths]
    for number, (path, (fields, tensors)) in enumerate(zip(paths, headers, strict=True)):
        place = fields.get("split.no"), fields.get("split.count")
        if place != (number, len(paths)) or joined.keys() & tensors.keys():
            raise InputError(f"{path}: this is not part {number + 1} of {len(paths)} of the same file; download it again")
        joined |= tensors
    expected = headers[0][0].get("split.tensors.count", len(joined))
    if len(joined) != expected:
        raise InputError(f"{paths[0]}: its {len(paths)} parts hold {len(joined)} tensors, not {expected}; download them again")
    return headers[0][0], joined


def _read(path: pathlib.Path) -> Header:
    try:
        return read_header(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnsupportedError as error:
        raise InputError(f"{path}: {error}; use another file") from None
    except ValueError as error:
        raise InputError(f"{path}: not a readable GGUF file ({error}); download it again") from None
