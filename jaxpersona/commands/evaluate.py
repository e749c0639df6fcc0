"""Command: evaluates masks on held-out pairs.

python -m jaxpersona.evaluate --run runs/quickstart --controls true
python -m jaxpersona.evaluate --masks runs/quickstart/masks/seek --output_dir runs/seek_alone
"""

import csv
import io
import json
import pathlib
from typing import Any

from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.evaluated_masks import Subject, of_bundles, of_run
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.core.files import write_atomically
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first
from jaxpersona.core.protocol import PROTOCOLS
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import builtin_prompts
from jaxpersona.evaluation.baselines.registry import check_baselines
from jaxpersona.evaluation.comparison import Evaluation, evaluate
from jaxpersona.masks.bundle import load_masks, package_versions
from jaxpersona.models.model import load_model
from jaxpersona.models.perplexity import read_text
from jaxpersona.reporting.evaluation_tables import print_evaluation

SCHEMA_VERSION = 1


def main(config: EvaluateConfig) -> None:
    """Writes ``evaluation.json``, ``evaluation.csv`` and, of open answers, ``answers.jsonl``, and prints tables."""
    subject, baselines = _subject(config), _listed(config.baselines)
    check_baselines(baselines)
    pairs, calibrated_on = subject.held_out(config.data.source, config.data.split, config.data.num_samples, config.seed)
    prompts = config.prompts or builtin_prompts(pairs.source)
    asked = dict(zip(subject.personas, prompts, strict=True)) if prompts else {}
    options, mesh = _options(config, subject), make_mesh(config.mesh.data, config.mesh.model)
    folder = pathlib.Path(config.output_dir or config.run or "").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as report:
        model = load_model(subject.model, config.dtype, mesh=mesh)
        masks = {persona: load_masks(bundle, model) for persona, bundle in subject.bundles.items()}
        found = evaluate(model, masks, pairs, prompts=asked, baselines=baselines, **options, report=report)
    record = _record(config, found, pairs, calibrated_on, asked)
    if is_first():
        _save(folder, record, found.answers)
    print_evaluation(record, subject.personas, str(folder))


def _subject(config: EvaluateConfig) -> Subject:
    return of_bundles(_listed(config.masks or []), config.model) if config.run is None else of_run(config.run)


def _listed(names: list[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else names


def _options(config: EvaluateConfig, subject: Subject) -> dict[str, Any]:
    neutral = read_text(config.perplexity.text)
    needs_recipe = config.controls is True or config.baselines or config.open_ended
    same = {name: getattr(config, name) for name in ("rag_k", "letters", "open_ended", "max_new_tokens", "seed")}
    return same | {
        "controls": bool(config.controls),
        "personas": subject.personas,
        "recipe": subject.recipe() if needs_recipe else None,
        "text": config.data.text,
        "max_length": config.data.max_length,
        "neutral": neutral,
        "neutral_tokens": config.perplexity.max_tokens,
        "protocol": PROTOCOLS[config.protocol],
    }


def _record(
    config: EvaluateConfig, found: Evaluation, pairs: Pairs, calibrated_on: int | None, prompts: dict[str, str]
) -> dict[str, Any]:
    """The contents of ``evaluation.json``."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "data": {"source": pairs.source, "sha256": pairs.digest, "pairs": len(pairs), "calibration_pairs": calibrated_on},
        "prompts": prompts,
        "perplexity_text": config.perplexity.text,
        "protocol": config.protocol,
        "results": found.rows,
        "separation": found.separation,
    }
    if found.open_ended is not None:
        record["open_ended"] = found.open_ended
    return record | {"versions": package_versions()}


def _save(folder: pathlib.Path, record: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(record["results"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(record["results"])
    write_atomically(folder / "evaluation.csv", table.getvalue())
    if answers:
        write_atomically(folder / "answers.jsonl", "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in answers))
    else:
        (folder / "answers.jsonl").unlink(missing_ok=True)  # of an earlier evaluation
    write_atomically(folder / "evaluation.json", json.dumps(record, indent=1) + "\n")
