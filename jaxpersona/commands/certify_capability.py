"""Keeps the results of lm-eval with a run: in ``capability.json``, and in the certificates of its masks."""

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpersona.commands.run_folder import CAPABILITY_FILE
from jaxpersona.commands.run_record import persona_bundle
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.evaluation.capability import comparison, scores
from jaxpersona.evaluation.certificate import certify, load_certificate
from jaxpersona.evaluation.evaluator import BASE
from jaxpersona.masks.bundle import load_masks
from jaxpersona.masks.digest import digest

SCHEMA_VERSION = 1
"""Version of the layout of ``capability.json``."""


def certify_capability(argv: Sequence[str], since: float) -> None:
    """Reads the results that lm-eval wrote to ``--output_path``, and enters them into the run's files.

    Does nothing without that option, for other models, and with a gamma, under which a mask is another one.

    Args:
      argv: lm-eval's options.
      since: files of an earlier time, in seconds since the epoch, are of other runs.

    Raises:
      InputError: if ``capability.json`` is damaged.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output_path", "-o", default=None)
    path = parser.parse_known_args(argv)[0].output_path
    fresh = [file for file in _written(path) if file.stat().st_mtime >= since]
    if not fresh:
        return
    file = max(fresh, key=lambda file: file.stat().st_mtime)
    results = json.loads(file.read_text())
    asked = results["config"]["model_args"]
    if isinstance(asked, str):
        asked = dict(pair.split("=", 1) for pair in asked.split(","))
    if "run" not in asked or float(asked.get("gamma", 0)):
        return
    run, persona = pathlib.Path(asked["run"]).expanduser(), asked.get("persona", BASE)
    cases = _enter(run, persona, scores(results, _samples(file, results["results"])))
    for name in cases if persona == BASE else [persona]:
        if name != BASE:
            _certify(run, name, cases)
    print(f"Written: {run / CAPABILITY_FILE}")


def _written(path: str | None) -> list[pathlib.Path]:
    """Returns the files of results that lm-eval wrote to a folder, or beside a name that ends in ``.json``."""
    if path is None:
        return []
    place = pathlib.Path(path)
    return [*place.parent.glob(f"{place.stem}_*.json")] if place.suffix == ".json" else [*place.rglob("results_*.json")]


def _samples(file: pathlib.Path, tasks: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows that ``--log_samples`` wrote beside a file of results, by task."""
    date = file.stem.rpartition("_")[2]
    files = {task: file.with_name(f"samples_{task}_{date}.jsonl") for task in tasks}
    texts = {task: path.read_text(encoding="utf-8") for task, path in files.items() if path.is_file()}
    return {task: [json.loads(line) for line in text.split("\n") if line] for task, text in texts.items()}


def _enter(run: pathlib.Path, persona: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Enters scores into the run's ``capability.json``, and returns all of its cases; scores of other masks are dropped."""
    file = run / CAPABILITY_FILE
    try:
        cases: dict[str, Any] = json.loads(file.read_text())["cases"] if file.is_file() else {}
        sha256 = None if persona == BASE else digest(load_masks(persona_bundle(str(run), persona)))
        known = cases[persona]["tasks"] if persona in cases and cases[persona]["masks_sha256"] == sha256 else {}
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{file}: damaged (not the JSON that was written); delete it, and measure again") from None
    cases[persona] = {"masks_sha256": sha256, "tasks": {**known, **found}}
    write_atomically(file, json.dumps({"schema_version": SCHEMA_VERSION, "cases": cases}) + "\n")
    return cases


def _certify(run: pathlib.Path, persona: str, cases: Mapping[str, Any]) -> None:
    """Enters a persona's scores, and how they differ from the base model's, into its certificate, unless it is of other masks."""
    bundle, base = persona_bundle(str(run), persona), cases.get(BASE, {"tasks": {}})["tasks"]
    if digest(load_masks(bundle)) != cases[persona]["masks_sha256"]:
        return
    entry = {
        task: {key: value for key, value in own.items() if key not in ("samples", "setting")} | comparison(own, base.get(task))
        for task, own in cases[persona]["tasks"].items()
    }
    known = (load_certificate(bundle) or {}).get("capability", {})
    certify(bundle, persona, cases[persona]["masks_sha256"], capability={**known, **entry})
