"""Masks as one safetensors file that NumPy reads without this package (docs/exports.md has the layout and the ten lines).

A tensor per matrix, under its Hugging Face name: uint8 [out, ceil(in / 8)], the bits of ``numpy.packbits`` along the inputs, of
which the first is the highest of its byte. The header's ``__metadata__`` has ``format``, ``version``, and as JSON ``shapes``
(out, in) by name, ``others`` (paths of the unmasked parameters) and ``about`` (what the bundle said of the masks).
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxpersona.core import json_text
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import replacing
from jaxpersona.masks.digest import digest
from jaxpersona.masks.masks import Masks
from jaxpersona.masks.matrices import fit, from_matrices, matrices
from jaxpersona.models.model import Model

MASK_FILE = "masks.safetensors"
_FORMAT, _VERSION = "jaxpersona.masks", "1"


def write_packed(path: pathlib.Path, masks: Masks, about: Mapping[str, Any]) -> None:
    """Writes the file.

    Args:
      path: of the file; replaced if it exists.
      masks: of one persona.
      about: JSON values to store; ``read_packed`` compares ``fingerprint`` with the model's.
    """
    tensors, shapes = {}, {}
    for name, mask in matrices(masks):
        tensors[name], shapes[name] = np.ascontiguousarray(np.packbits(mask, axis=1)), mask.shape
    described = {"shapes": shapes, "others": masks.others, "about": about}
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "sha256": digest(masks),
        **{key: json.dumps(value) for key, value in described.items()},
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_packed(path: pathlib.Path, model: Model | None = None) -> Masks:
    """Reads the file.

    Args:
      path: of the file.
      model: checks that the masks were made for this model's weights; None skips the check.

    Raises:
      InputError: if the file is missing, damaged, of another format or version, or made for another model.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            shapes, others, about = _described(path, file.metadata())
            _check_stored(path, {name: file.get_slice(name) for name in file.keys()}, shapes)  # noqa: SIM118
            masks = from_matrices(shapes, lambda name: _unpacked(file.get_tensor(name), shapes[name]), path, others)
            sha256 = file.metadata().get("sha256")  # earlier versions wrote none
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise InputError(f"{path}: damaged or truncated ({error}); export the masks again") from None
    if sha256 is not None and sha256 != digest(masks):
        raise InputError(f"{path}: damaged (SHA-256 differs); export the masks again")
    if model is None:
        return masks
    if about.get("fingerprint", model.fingerprint) != model.fingerprint:
        made_for = about.get("model", "another model")
        raise InputError(f"{path} was made for {made_for} with other weights than {model.name}; discover it again")
    return fit(masks, model, path)


def _described(path: pathlib.Path, metadata: Mapping[str, str] | None) -> tuple[dict[str, tuple], list[str], dict[str, Any]]:
    """Returns shapes, unmasked parameters, and what is known of the masks, from the file's metadata."""
    metadata = metadata or {}
    if metadata.get("format") != _FORMAT or metadata.get("version") != _VERSION:
        found = f"{metadata.get('format')} version {metadata.get('version')}"
        raise InputError(f"{path} is {found}, not {_FORMAT} version {_VERSION}; give masks that export wrote")
    try:
        shapes, others, about = (json_text.parse(metadata[key]) for key in ("shapes", "others", "about"))
        shapes = {name: tuple(map(_size, shape)) for name, shape in shapes.items()}
        if not isinstance(about, dict) or not all(isinstance(other, str) for other in others):
            raise ValueError("others and about are not a list of texts and an object")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its metadata are damaged ({error}); export the masks again") from None
    return shapes, others, about


def _size(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is not a size")
    return value


def _check_stored(path: pathlib.Path, stored: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks that the file has the tensors that its metadata describe, and no other."""
    for name in {**shapes, **stored}:
        shape, tensor = shapes.get(name, ()), stored.get(name)
        packed = [shape[0], -(-shape[1] // 8)] if len(shape) == 2 else None
        if tensor is None or tensor.get_dtype() != "U8" or tensor.get_shape() != packed:
            found = "missing" if tensor is None else f"{tensor.get_dtype()} {tensor.get_shape()}"
            raise InputError(f"{path}: tensor {name} is {found}, its shape in the metadata {list(shape)}; export the masks again")


def _unpacked(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed, axis=1, count=shape[1]).view(bool)
