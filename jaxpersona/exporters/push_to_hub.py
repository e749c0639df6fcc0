"""Uploads masks and exported models to the Hugging Face hub, with a model card made from their certificates."""

import os
import pathlib
from collections.abc import Sequence

from jaxpersona.core import hub
from jaxpersona.core.errors import InputError
from jaxpersona.evaluation.certificate import load_certificate
from jaxpersona.exporters.model_card import Certified, model_card
from jaxpersona.masks.bundle import read_metadata

_WEIGHTS = (".safetensors", ".gguf", ".pt")
"""Endings of what an export writes."""
CARDS = ("README.md", "MODEL_CARD.md")
"""Names of the card: the hub shows the first, other tools look for the second."""


def push_to_hub(
    path: str | os.PathLike[str],
    repository: str,
    *,
    bundles: Sequence[str | os.PathLike[str]] = (),
    licence: str = "",
    private: bool = False,
) -> str:
    """Uploads a mask bundle, both bundles of a run, or an exported model; returns the repository's address.

    ``load_masks("hub:OWNER/NAME")`` loads a bundle again, ``load_masks("hub:OWNER/NAME/PERSONA")`` one of a run.

    Args:
      path: folder of a bundle, of a run, or of an export.
      repository: ``OWNER/NAME``; created if needed.
      bundles: of an export, the bundles of the masks that it was made with.
      licence: identifier of the hub, such as ``apache-2.0``.
      private: whether a new repository is private.

    Raises:
      InputError: if the repository's name is invalid, the folder is none of these, masks are damaged or were not evaluated, or
        the hub refuses.
    """
    contents = repository_contents(path, repository, bundles, licence)
    return hub.upload(contents, repository, private, "Upload with jaxpersona")


def repository_contents(
    path: str | os.PathLike[str], repository: str, bundles: Sequence[str | os.PathLike[str]] = (), licence: str = ""
) -> dict[str, pathlib.Path | bytes]:
    """Returns what ``push_to_hub`` uploads: files, and the card as bytes, by path in the repository."""
    hub.check_repository(repository)
    folder = pathlib.Path(path).expanduser()
    of_export = [pathlib.Path(bundle).expanduser() for bundle in bundles]
    own = _bundles(folder)
    if own and of_export:
        raise InputError(f"{folder} holds masks, which have certificates of their own; leave out the bundles")
    if not own and not of_export:
        raise InputError(f"{folder} holds no masks; for an exported model give the bundles of its masks as well")
    if not own and not any(file.suffix in _WEIGHTS for file in folder.iterdir()):
        raise InputError(f"{folder} is no export (it has no weights or masks); give the folder that export has written")
    roots = own or {"": folder}
    files = {f"{place}/{name}".lstrip("/"): file for place, root in roots.items() for name, file in _files(root).items()}
    certified = [_certified(place, bundle) for place, bundle in (own or {bundle.name: bundle for bundle in of_export}).items()]
    card = model_card(repository, certified, bool(own), licence).encode()
    return {**files, **dict.fromkeys(CARDS, card)}


def _bundles(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the bundles of a run by persona, that of the matching answers first; or a bundle under the empty name; or none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give that of a bundle, a run or an export")
    if (folder / "run.json").is_file():
        found = {metadata.parent.name: metadata.parent for metadata in sorted((folder / "masks").glob("*/metadata.json"))}
        first = [persona for bundle in found.values() for persona in read_metadata(bundle).get("personas", ())][:1]
        return dict(sorted(found.items(), key=lambda item: item[0] not in first))
    return {"": folder} if (folder / "metadata.json").is_file() else {}


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the files of a folder by their paths in it, without hidden ones."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name.as_posix(): path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}


def _certified(place: str, bundle: pathlib.Path) -> Certified:
    certificate = load_certificate(bundle)
    if certificate is None:
        raise InputError(f"masks {bundle} have no certificate to make a card from; run python -m jaxpersona.evaluate first")
    return Certified(place, read_metadata(bundle), certificate)
