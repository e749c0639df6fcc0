"""Evaluates masks on disk, for the command ``evaluate``, and for ``discover`` after it has found masks."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from jaxpersona.commands.certify_all import certify_all
from jaxpersona.commands.command_line import command_line
from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.evaluation_folder import check_folder, save, save_page
from jaxpersona.commands.kept_progress import kept_progress
from jaxpersona.commands.masks_on_disk import MasksOnDisk
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_folder import EVALUATION_PROGRESS
from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first
from jaxpersona.core.protocol import PROTOCOLS
from jaxpersona.core.stage import Stage
from jaxpersona.core.template_settings import settings_of
from jaxpersona.data.descriptions import parse_descriptions
from jaxpersona.data.neutral_text import read_text
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import builtin_prompts, load_pairs
from jaxpersona.evaluation.baselines.registry import check_baselines
from jaxpersona.evaluation.comparison import Evaluation, evaluate
from jaxpersona.evaluation.controls import CONTROLS, check_controls
from jaxpersona.evaluation.evaluator import prepare_held_out
from jaxpersona.evaluation.letters import listed_options
from jaxpersona.evaluation.prompts import why_left_out, with_system
from jaxpersona.masks.bundle import load_masks, package_versions
from jaxpersona.masks.digest import digest
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.persona import Persona
from jaxpersona.reporting.evaluation_tables import print_evaluation

SCHEMA_VERSION = 1
"""Version of the layout of ``evaluation.json``."""


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a configuration asks for.

    Attributes:
      pairs: the held-out pairs.
      calibrated_on: number of calibration pairs among them; None if unknown.
      prompts: system texts by persona.
      options: further arguments of ``evaluate``.
    """

    pairs: Pairs
    calibrated_on: int | None
    prompts: dict[str, str]
    options: dict[str, Any]


def evaluate_masks(
    config: EvaluateConfig, on_disk: MasksOnDisk, model: Model | None = None, masks: Mapping[str, Persona] | None = None
) -> None:
    """Evaluates masks, writes the results into ``config.output_dir`` or the run's folder, and prints tables.

    Args:
      config: the command's options.
      on_disk: the masks and how they were found.
      model: the model, if it is already loaded.
      masks: the masks by persona, if they are already loaded.

    Raises:
      InputError: if held-out pairs are missing or were calibrated on, if files of others would be replaced, and as
        ``evaluation.comparison.evaluate``.
    """
    folder = pathlib.Path(config.output_dir or config.run or "").expanduser()
    check_folder(folder, config.run)
    asked = _read(config, on_disk)
    with kept_progress(folder / EVALUATION_PROGRESS) as checkpoints, progress_bars() as report:
        if model is None:
            mesh = make_mesh(config.mesh.data, config.mesh.model)
            model = load_model(on_disk.model, config.dtype, mesh=mesh, template=on_disk.template)
        masks = masks or {persona: load_masks(bundle, model) for persona, bundle in on_disk.bundles.items()}
        digests = {persona: digest(mask) for persona, mask in masks.items()}
        checkpoints.mesh = model.mesh
        checkpoints.agree(_facts(config, asked, model, digests), overwrite=True)
        stage = Stage(report, checkpoints)
        evaluation = evaluate(model, masks, asked.pairs, prompts=asked.prompts, **asked.options, stage=stage)
        record = _record(config, evaluation, asked)
        record["template"] = dataclasses.asdict(settings_of(model.tokenizer))
        if is_first():
            save(folder, record, evaluation.answers, on_disk.personas, config.seed)
            certify_all(on_disk, record, digests)
    print_evaluation(record, on_disk.personas, str(folder))
    if is_first() and config.run is not None and on_disk.run is not None:
        save_page(config.run, on_disk.run, folder)


def check_evaluation(config: EvaluateConfig, on_disk: MasksOnDisk, model: Model) -> None:
    """Checks that an evaluation can be done, before there are masks.

    Args:
      config: the command's options.
      on_disk: how the masks will be found.
      model: the model; its weights are not used.

    Raises:
      InputError: as ``evaluate_masks``.
    """
    asked = _read(config, on_disk)
    text, max_length, letters = (asked.options[name] for name in ("text", "max_length", "letters"))
    prompts = {} if why_left_out(model, text) else {name: with_system(prompt) for name, prompt in asked.prompts.items()}
    prepare_held_out(model, asked.pairs, prompts, text, max_length, letters)


def _read(config: EvaluateConfig, on_disk: MasksOnDisk) -> _Asked:
    """Reads all that an evaluation needs besides the model and the masks."""
    options = _options(config, on_disk)
    check_baselines(options["baselines"])
    check_controls(options["controls"] if isinstance(options["controls"], list) else ())
    pairs, calibrated_on = on_disk.held_out(config.data.source, config.data.split, config.data.num_samples, config.seed)
    descriptions = parse_descriptions(pairs.source)
    known = builtin_prompts(pairs.source) if descriptions is None else descriptions.system_texts
    texts = (config.prompts or known) if config.prompted else None
    prompts = dict(zip(on_disk.personas, texts, strict=True)) if texts else {}
    return _Asked(pairs, calibrated_on, prompts, options)


def _options(config: EvaluateConfig, on_disk: MasksOnDisk) -> dict[str, Any]:
    neutral = read_text(config.perplexity.text)
    controls = [kind for kind in CONTROLS if kind != "shuffled"] if config.controls == "fast" else config.controls
    shuffles = controls is True or (controls and "shuffled" in controls)
    needs_recipe = shuffles or config.baselines or (config.open_ended and config.judge_data is None)
    same = {
        name: getattr(config, name)
        for name in ("baseline_damage", "rag_k", "letters", "open_ended", "open_samples", "panel", "max_new_tokens", "seed")
    }
    return same | {
        "judge_pairs": None if config.judge_data is None else _judge_pairs(config.judge_data),
        "controls": controls,
        "baselines": [config.baselines] if isinstance(config.baselines, str) else config.baselines or [],
        "personas": on_disk.personas,
        "recipe": on_disk.recipe() if needs_recipe else None,
        "text": config.data.text or on_disk.text,
        "max_length": config.data.max_length,
        "neutral": neutral,
        "neutral_tokens": config.perplexity.max_tokens,
        "protocol": PROTOCOLS[config.protocol],
    }


def _judge_pairs(source: str) -> Pairs:
    try:
        return load_pairs(source)
    except InputError as error:
        raise InputError(f"judge_data: {error}") from None


def _facts(config: EvaluateConfig, asked: _Asked, model: Model, digests: Mapping[str, str]) -> dict[str, Any]:
    """Returns what the results depend on; checkpoints of other facts are discarded."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in ("run", "masks", "output_dir")}
    judges, recipe = asked.options["judge_pairs"], asked.options["recipe"]
    return {
        **settings,
        "text": asked.options["text"],
        "prompts": asked.prompts,
        "pairs": {
            "held out": asked.pairs.digest,
            "judge": judges and judges.digest,
            "calibration": recipe and recipe.pairs.digest,
        },
        "neutral": hashlib.sha256(asked.options["neutral"].encode()).hexdigest(),
        "model": {"fingerprint": model.fingerprint, "batch_dtype": str(model.batch_dtype)},
        "masks": dict(digests),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": package_versions(),
    }


def _record(config: EvaluateConfig, evaluation: Evaluation, asked: _Asked) -> dict[str, Any]:
    """Returns the contents of ``evaluation.json``."""
    pairs = asked.pairs
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "command": command_line("evaluate", config),
        "data": {
            "source": pairs.source,
            "sha256": pairs.digest,
            "pairs": len(pairs),
            "calibration_pairs": asked.calibrated_on,
        },
        "prompts": {} if evaluation.left_out else asked.prompts,
        "left_out": evaluation.left_out,
        "perplexity_text": config.perplexity.text,
        "protocol": config.protocol,
        "results": evaluation.rows,
        "separation": evaluation.separation,
    }
    if listed := int((listed_options(pairs) != "").sum()):
        record["data"]["listed_options"] = listed
    if evaluation.open_ended is not None:
        record["open_ended"] = evaluation.open_ended
    return record | {"versions": package_versions()}
