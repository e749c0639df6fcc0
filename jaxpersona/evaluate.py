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
    from jaxpersona.evaluation.controls import Calibration

SCHEMA_VERSION = 1


def main(config: EvaluateConfig) -> None:
    """Writes ``evaluation.json`` and ``evaluation.csv`` into the run's folder, and prints a table."""
    from jaxpersona.bundle import load_masks, package_versions
    from jaxpersona.data.readers import builtin_prompts
    from jaxpersona.evaluation.comparison import evaluate
    from jaxpersona.language_modelling import read_text
    from jaxpersona.models.model import load_model
    from jaxpersona.reporting.tables import print_evaluation
    from jaxpersona.run_folder import persona_bundle, read_run

    run = read_run(config.run)
    pairs = _held_out(config, run)
    text = read_text(config.perplexity.text)
    options: dict[str, Any] = {"text": config.data.text, "max_length": config.data.max_length, "seed": config.seed}
    options |= {"neutral": text, "neutral_tokens": config.perplexity.max_tokens}
    options |= {"calibration": _calibration(run, text) if config.controls else None}
    prompts = config.prompts or builtin_prompts(pairs.source)
    asked = dict(zip(run["masks"], prompts, strict=True)) if prompts else {}
    with cli.progress_bars() as report:
        model = load_model(run["model"]["name"], config.dtype)
        masks = {persona: load_masks(persona_bundle(config.run, persona), model) for persona in run["masks"]}
        found = evaluate(model, masks, pairs, prompts=asked, **options, report=report)
    evaluation = {
        "schema_version": SCHEMA_VERSION,
        "data": {"source": pairs.source, "sha256": pairs.digest, "pairs": len(pairs)},
        "prompts": asked,
        "perplexity_text": config.perplexity.text,
        "results": found.rows,
        "separation": found.separation,
        "versions": package_versions(),
    }
    _save(pathlib.Path(config.run).expanduser(), evaluation)
    print_evaluation(evaluation, next(iter(masks)), config.run)


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


def _calibration(run: dict[str, Any], neutral: str) -> Calibration:
    """How the masks were found."""
    from jaxpersona import methods
    from jaxpersona.data.readers import load_pairs
    from jaxpersona.evaluation.controls import Calibration

    data, settings = run["config"]["data"], dict(run["method"])
    pairs = load_pairs(data["source"], data["split"]).sample(data["num_samples"], run["config"]["seed"])
    return Calibration(pairs, methods.by_name(settings.pop("name"), **settings), data["text"], data["max_length"], neutral)


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
