"""Reads the ``run.json`` of a run, and finds the mask bundles that it names."""

import pathlib
from collections.abc import Mapping
from typing import Any

from jaxpersona.core import json_text
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import inside
from jaxpersona.core.template_settings import TemplateSettings
from jaxpersona.data.text import TextMode
from jaxpersona.inference.persona_names import check_name
from jaxpersona.masks.bundle import read_metadata
from jaxpersona.reporting.record import SCHEMA_VERSION

_OF_PERSONAS: dict[str, type] = {"model.name": str, "config.data.text": str, "masks": dict}
"""Fields without which a run's personas cannot be used, by their place."""
_OF_SEARCH: dict[str, type] = {
    "model.fingerprint": str,
    "method.name": str,
    "data.source": str,
    "data.sha256": str,
    "data.pairs": int,
    "config.seed": int,
    "config.data.source": str,
    "config.data.num_samples": int,
    "config.data.max_length": int,
    "config.data.personas": list,
}
"""Fields that say how the personas were found."""


def read_run(path: str) -> dict[str, Any]:
    """Returns the contents of a run's ``run.json``, as far as its personas need them.

    Raises:
      InputError: if ``path`` has no run, or one that this version cannot read.
    """
    file = pathlib.Path(path).expanduser() / "run.json"
    if not file.is_file():
        raise InputError(f"{path} contains no run (run.json is missing); give the output_dir of a discover run")
    try:
        contents = json_text.parse(file.read_text())
    except ValueError as error:
        raise InputError(f"{file}: damaged ({error}); run discover again") from None
    version = contents.get("schema_version") if isinstance(contents, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{file}: schema version {version}, this jaxpersona reads {SCHEMA_VERSION}; run discover again")
    _check(contents, _OF_PERSONAS, file)
    return contents


def read_search(path: str) -> dict[str, Any]:
    """Returns the contents of a run's ``run.json``, with how its masks were found; the persona of the matching answers is first.

    Raises:
      InputError: as ``read_run``, or if it does not say how the masks of its two personas were found.
    """
    file, contents = pathlib.Path(path).expanduser() / "run.json", read_run(path)
    _check(contents, _OF_SEARCH, file)
    masks, personas = contents["masks"], contents["config"]["data"]["personas"]
    if len(personas) != 2 or set(personas) != set(masks):
        raise InputError(f"{file}: damaged (masks are of {', '.join(masks)}, not of {personas}); run discover again")
    return {**contents, "masks": {persona: masks[persona] for persona in personas}}


def _check(contents: Mapping[str, Any], fields: Mapping[str, type], file: pathlib.Path) -> None:
    for place, kind in fields.items():
        found: Any = contents
        for key in place.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, kind):
            raise InputError(f"{file}: damaged ({place} is missing, or no {kind.__name__}); run discover again")


def template_of(run: Mapping[str, Any]) -> TemplateSettings:
    """Returns the settings of the chat template that a run's masks were found with, from its ``run.json``."""
    data = run["config"]["data"]
    default = TemplateSettings()
    return TemplateSettings(data.get("template_date", default.date), data.get("enable_thinking", default.enable_thinking))


def text_of(run: Mapping[str, Any]) -> TextMode:
    """Returns the text mode that a run's masks were found with, from the contents of ``run.json``."""
    mode: TextMode = run["config"]["data"]["text"]
    return mode


def persona_bundle(path: str, persona: str) -> pathlib.Path:
    """Returns the folder of a persona's mask bundle in a run.

    Raises:
      InputError: if there is no such run, it has no such persona, or the bundle is missing or that of another persona.
    """
    check_name(persona, read_run(path)["masks"])
    folder = inside(pathlib.Path(path).expanduser() / "masks", persona)
    named = read_metadata(folder).get("persona", persona)
    if named != persona:
        raise InputError(f"{folder} holds the masks of {named}; move them where they belong, or run discover again")
    return folder
