"""Command: evaluates the masks of a run on held-out pairs.

python -m jaxpersona.evaluate --run runs/quickstart --controls true
"""

from __future__ import annotations

import csv
import io
import json
import pathlib
from typing import TYPE_CHECKING, Any

from jaxpersona import cli
from jaxpersona.config import EvaluateConfig

if TYPE_CHECKING:
    from jaxpersona.data.pairs import Pairs
    from jaxpersona.evaluation.evaluator import Evaluator
    from jaxpersona.masks import Masks

SCHEMA_VERSION = 1


def main(config: EvaluateConfig) -> None:
    """Writes ``evaluation.json`` and ``evaluation.csv`` into the run's folder, and prints a table."""
    from jaxpersona.bundle import load_masks, package_versions
    from jaxpersona.data.readers import builtin_prompts
    from jaxpersona.evaluation.evaluator import Evaluator, hold
    from jaxpersona.language_modelling import read_text, windows
    from jaxpersona.models.model import load_model
    from jaxpersona.reporting.tables import print_evaluation
    from jaxpersona.run_folder import persona_bundle, read_run

    run = read_run(config.run)
    pairs = _held_out(config, run)
    calibration = _calibration(run) if config.controls else None
    text = read_text(config.perplexity.text)
    first, second = run["masks"]
    prompts = config.prompts or builtin_prompts(pairs.source)
    with cli.progress_bars() as report:
        model = load_model(run["model"]["name"], config.dtype)
        masks = {persona: load_masks(persona_bundle(config.run, persona), model) for persona in (first, second)}
        tokens = windows(model, text, config.perplexity.max_tokens) if config.perplexity.max_tokens else None
        asked = dict(zip((first, second), prompts, strict=True)) if prompts else {}
        held = hold(model, pairs, asked, config.data.text, config.data.max_length)
        evaluator = Evaluator(model, held, (first, second), tokens, report)
        evaluator.add("none", None)
        for persona, mask in masks.items():
            evaluator.add(persona, mask)
        separation = evaluator.separation(first, second, config.seed)
        if calibration is not None:
            separation += _add_controls(evaluator, masks, run, calibration, text, config.seed)
    evaluation = {
        "schema_version": SCHEMA_VERSION,
        "data": {"source": pairs.source, "sha256": pairs.digest, "pairs": len(pairs)},
        "prompts": asked,
        "perplexity_text": config.perplexity.text,
        "results": evaluator.rows,
        "separation": separation,
        "versions": package_versions(),
    }
    _save(pathlib.Path(config.run).expanduser(), evaluation)
    print_evaluation(evaluation, first, config.run)


def _held_out(config: EvaluateConfig, run: dict[str, Any]) -> Pairs:
    """The pairs to evaluate on; those the masks were found on are refused."""
    from jaxpersona.data.readers import load_pairs
    from jaxpersona.errors import InputError

    found_on = run["data"]["source"]
    source = config.data.source or found_on
    builtin = source.startswith("builtin:")
    split = config.data.split or ("test" if builtin else None)
    found_split = run["config"]["data"]["split"] or ("train" if builtin else None)
    if source == found_on and (split == found_split or None in (split, found_split)):  # None is all splits of a file
        where = f"{source} (split {found_split})" if found_split else source
        raise InputError(f"the masks were found on {where}; give held-out pairs as --data.source (or --data.split)")
    return load_pairs(source, split).sample(config.data.num_samples, config.seed)


def _calibration(run: dict[str, Any]) -> Pairs:
    """The pairs the masks were found on."""
    from jaxpersona.data.readers import load_pairs

    data = run["config"]["data"]
    return load_pairs(data["source"], data["split"]).sample(data["num_samples"], run["config"]["seed"])


def _add_controls(
    evaluator: Evaluator, masks: dict[str, Masks], run: dict[str, Any], calibration: Pairs, text: str, seed: int
) -> list[dict[str, Any]]:
    """Evaluates the controls and returns their separations."""
    from jaxpersona import methods
    from jaxpersona.discovery import discover
    from jaxpersona.evaluation import controls

    model, (first, second) = evaluator.model, masks
    for number, (persona, mask) in enumerate(masks.items()):
        evaluator.add(f"random {persona}", controls.random_mask(model, mask, seed + number), prompts=False)
    evaluator.add("magnitude", controls.magnitude_mask(model, masks[first]), prompts=False)
    evaluator.add("neutral", controls.neutral_mask(model, masks[first], text), prompts=False)
    data, settings = run["config"]["data"], dict(run["method"])
    options = {"num_samples": data["num_samples"], "text": data["text"], "max_length": data["max_length"]}
    names = (f"shuffled {first}", f"shuffled {second}")
    method = methods.by_name(settings.pop("name"), **settings)
    blind = discover(model, controls.shuffled(calibration, seed), method, personas=names, **options, seed=seed)
    for name, mask in blind.masks.items():
        evaluator.add(name, mask, prompts=False)
    for name, choices in controls.length_choosers(evaluator.held.lengths).items():
        evaluator.add_choices(name, choices)
    pairs = (f"random {first}", f"random {second}"), names
    return [row for pair in pairs for row in evaluator.separation(*pair, seed)]


def _save(folder: pathlib.Path, evaluation: dict[str, Any]) -> None:
    from jaxpersona.files import write_atomically

    table = io.StringIO()
    writer = csv.DictWriter(table, list(evaluation["results"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(evaluation["results"])
    write_atomically(folder / "evaluation.csv", table.getvalue())
    write_atomically(folder / "evaluation.json", json.dumps(evaluation, indent=1) + "\n")


if __name__ == "__main__":
    cli.run("evaluate", EvaluateConfig, main)
