"""Describes masks on disk before evaluation: their model, bundles, calibration pairs and recipe."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.commands.run_record import persona_bundle, read_search, template_of, text_of
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import resolve
from jaxpersona.core.template_settings import TemplateSettings
from jaxpersona.data.descriptions import PAIRS_FILE, parse_descriptions
from jaxpersona.data.lines import Lines
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import held_out_split, load_pairs
from jaxpersona.data.text import TextMode
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.masks.bundle import read_metadata
from jaxpersona.methods.registry import by_name


@dataclasses.dataclass(frozen=True)
class MasksOnDisk:
    """Masks on disk and how they were found.

    Attributes:
      model: name of the model that they are for.
      personas: the persona of the matching answers and its opposite.
      bundles: folders of the masks, by persona; of one persona or both.
      source: data spec of the calibration pairs; None if unknown.
      seen: digests of the calibration pairs; None if the masks were written without them.
      run: contents of ``run.json``; None for bundles outside a run.
      template: settings of the chat template that the masks were found with.
      described: file of the pairs that the model wrote, used if ``source`` is two descriptions.
      split: of ``source``, as the calibration pairs were asked for.
    """

    model: str
    personas: tuple[str, str]
    bundles: dict[str, pathlib.Path]
    source: str | None
    seen: Collection[str] | None
    run: dict[str, Any] | None = None
    template: TemplateSettings = dataclasses.field(default_factory=TemplateSettings)
    described: pathlib.Path | None = None
    split: str | None = None

    def held_out(self, source: str | None, split: str | None, count: int, seed: int) -> tuple[Pairs, int | None]:
        """Draws pairs to evaluate on.

        Args:
          source: data spec; None selects that of the calibration pairs.
          split: split of the data; None selects test, and of files that no split was asked of all rows.
          count: maximum number of pairs.
          seed: of the draw.

        Returns:
          The pairs, and the number of calibration pairs among them (None if unknown).

        Raises:
          InputError: if no source is known, or if more than three pairs or more than one in twenty are calibration pairs.
        """
        source = source or self.source
        if source is None:
            raise InputError("the masks do not say which data they were found on; give held-out pairs as --data.source")
        calibrated = self.split if source == self.source else None
        pairs = self._load(source, split or held_out_split(source, calibrated)).sample(count, seed)
        if isinstance(pairs, Lines):
            raise InputError(f"{source} holds single texts, which cannot be evaluated on; give pairs as --data.source")
        if self.seen is None:
            return pairs, None
        known = sum(pair.digest in self.seen for pair in pairs)
        if known > min(3, len(pairs) // 20):  # tolerated, because many published sets have a few duplicates
            raise InputError(
                f"the masks were found on {known} of the {len(pairs)} pairs of {source}; "
                "give held-out pairs as --data.source (or --data.split)"
            )
        return pairs, known

    @property
    def text(self) -> TextMode:
        """Returns the text mode in which the masks were found; ``chat`` if unknown."""
        return "chat" if self.run is None else text_of(self.run)

    def recipe(self) -> Recipe | None:
        """Returns how the masks were found; None for bundles outside a run.

        Raises:
          InputError: if the calibration pairs cannot be read or have changed.
        """
        if self.run is None:
            return None
        data, settings = self.run["config"]["data"], dict(self.run["method"])
        pairs, protocol = self._load(data["source"], data["split"]), resolve(self.run["config"]["protocol"])
        pairs = pairs.sample(data["num_samples"], self.run["config"]["seed"]) if protocol.sample else pairs
        if pairs.digest != self.run["data"]["sha256"]:
            raise InputError(f"{data['source']} has changed since the masks were found on it; run discover again")
        method, default = by_name(settings.pop("name"), **settings), TextAmount()
        # Runs of earlier versions have no such settings.
        generated = TextAmount(data.get("generated_texts", default.texts), data.get("generated_length", default.length))
        reuse = self.run["config"].get("reuse_factors", False)
        return Recipe(pairs, self.personas, method, data["text"], data["max_length"], protocol, generated, reuse)

    def _load(self, source: str, split: str | None) -> Pairs:
        """Reads pairs; if the source is the run's two descriptions, those that the model wrote, by default its train split."""
        descriptions = parse_descriptions(source)
        if self.described is None or descriptions is None or descriptions != parse_descriptions(self.source or ""):
            return load_pairs(source, split)
        return dataclasses.replace(load_pairs(str(self.described), split or "train"), source=descriptions.source)


def of_run(path: str, model: str | None = None) -> MasksOnDisk:
    """Describes both masks of a run.

    Args:
      path: the run's folder.
      model: name of the model, if it lies elsewhere than when the masks were found.

    Raises:
      InputError: if ``path`` has no run, or one that is damaged.
    """
    run = read_search(path)
    first, second = run["masks"]
    bundles = {persona: persona_bundle(path, persona) for persona in (first, second)}
    source, seen = run["data"]["source"], run["data"].get("pair_digests")
    described = pathlib.Path(path).expanduser() / PAIRS_FILE
    name, split = model or run["model"]["name"], run["config"]["data"].get("split")
    return MasksOnDisk(name, (first, second), bundles, source, seen, run, template_of(run), described, split)


def of_bundles(paths: Sequence[str], model: str | None = None) -> MasksOnDisk:
    """Describes one or two mask bundles.

    Args:
      paths: the bundles' folders. A bundle without a persona's name is named after its folder; of two such bundles, that of the
        matching answers comes first.
      model: name of the model; default: the first bundle's.

    Raises:
      InputError: if a bundle is missing, or they are not of the two personas of one pair.
    """
    folders = [pathlib.Path(path).expanduser() for path in paths]
    bundled = [read_metadata(folder) for folder in folders]
    names = [metadata.get("persona", folder.name) for metadata, folder in zip(bundled, folders, strict=True)]
    personas = bundled[0].get("personas") or (names if len(names) == 2 else [*names, f"not {names[0]}"])
    if len(names) > 2 or len(set(names)) < len(names) or not set(names) <= set(personas):
        raise InputError(f"masks of {', '.join(names)}: give one bundle, or one of each persona of a pair")
    seen = {digest for metadata in bundled for digest in metadata.get("pair_digests", ())}
    name = model or bundled[0].get("model")
    if name is None:
        raise InputError(f"{folders[0]} does not say which model it is for; give --model")
    bundles = dict(zip(names, folders, strict=True))
    template, both = TemplateSettings(**bundled[0].get("template", {})), (personas[0], personas[1])
    return MasksOnDisk(name, both, bundles, bundled[0].get("data"), seen or None, template=template)
