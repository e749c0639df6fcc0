"""Masks on disk that are to be evaluated, and what is known of how they were found."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from jaxpersona.commands.run_folder import persona_bundle, read_run
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import resolve
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import load_pairs
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.masks.bundle import read_metadata
from jaxpersona.methods.registry import by_name


@dataclasses.dataclass(frozen=True)
class MasksOnDisk:
    """Masks on disk.

    Attributes:
      model: name of the model they are for.
      personas: of the matching answers, and its opposite.
      bundles: folders of the masks by persona, of one persona or both.
      source: data spec of the calibration pairs, if known.
      seen: digests of the calibration pairs; None if the masks were written without them.
      run: contents of the run's ``run.json``; None for bundles by themselves.
    """

    model: str
    personas: tuple[str, str]
    bundles: dict[str, pathlib.Path]
    source: str | None
    seen: Collection[str] | None
    run: dict[str, Any] | None = None

    def held_out(self, source: str | None, split: str | None, count: int, seed: int) -> tuple[Pairs, int | None]:
        """At most ``count`` pairs to evaluate on, and how many of them are calibration pairs (None: not known).

        Args:
          source: data spec; None is that of the calibration pairs.
          split: of the data; None is test for built-in sets and all rows of a file.

        Raises:
          InputError: when more than three pairs, or one in twenty, are calibration pairs.
        """
        source = source or self.source
        if source is None:
            raise InputError("the masks do not say which data they were found on; give held-out pairs as --data.source")
        pairs = load_pairs(source, split or ("test" if source.startswith("builtin:") else None)).sample(count, seed)
        if self.seen is None:
            return pairs, None
        known = sum(pair.digest in self.seen for pair in pairs)
        if known > min(3, len(pairs) // 20):  # a few duplicates are in many published sets
            raise InputError(
                f"the masks were found on {known} of the {len(pairs)} pairs of {source}; "
                "give held-out pairs as --data.source (or --data.split)"
            )
        return pairs, known

    def recipe(self) -> Recipe | None:
        """How the masks were found, where a run says so.

        Raises:
          InputError: when the calibration pairs can no longer be read, or have changed.
        """
        if self.run is None:
            return None
        data, settings = self.run["config"]["data"], dict(self.run["method"])
        pairs, protocol = load_pairs(data["source"], data["split"]), resolve(self.run["config"]["protocol"])
        pairs = pairs.sample(data["num_samples"], self.run["config"]["seed"]) if protocol.sample else pairs
        if pairs.digest != self.run["data"]["sha256"]:
            raise InputError(f"{data['source']} has changed since the masks were found on it; run discover again")
        method = by_name(settings.pop("name"), **settings)
        return Recipe(pairs, self.personas, method, data["text"], data["max_length"], protocol)


def of_run(path: str) -> MasksOnDisk:
    """Both masks of a run.

    Raises:
      InputError: when ``path`` holds no run.
    """
    run = read_run(path)
    first, second = run["masks"]
    bundles = {persona: persona_bundle(path, persona) for persona in (first, second)}
    data = run["data"]
    return MasksOnDisk(run["model"]["name"], (first, second), bundles, data["source"], data.get("pair_digests"), run)


def of_bundles(paths: Sequence[str], model: str | None = None) -> MasksOnDisk:
    """One or two mask bundles.

    Args:
      paths: folders; where they do not say which persona they are for, the folder names it, that of the matching answers first.
      model: name of the model; default the one the first bundle was made for.

    Raises:
      InputError: when there is no bundle, or they are not of two personas of one pair.
    """
    folders = [pathlib.Path(path).expanduser() for path in paths]
    found = [read_metadata(folder) for folder in folders]
    names = [metadata.get("persona", folder.name) for metadata, folder in zip(found, folders, strict=True)]
    personas = found[0].get("personas") or (names if len(names) == 2 else [*names, f"not {names[0]}"])
    if len(names) > 2 or len(set(names)) < len(names) or not set(names) <= set(personas):
        raise InputError(f"masks of {', '.join(names)}: give one bundle, or one of each persona of a pair")
    known = {digest for metadata in found for digest in metadata.get("pair_digests", ())}
    name = model or found[0].get("model")
    if name is None:
        raise InputError(f"{folders[0]} does not say which model it is for; give --model")
    bundles = dict(zip(names, folders, strict=True))
    return MasksOnDisk(name, (personas[0], personas[1]), bundles, found[0].get("data"), known or None)
