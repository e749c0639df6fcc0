"""Command: finds the masks of two personas and writes them.

python -m jaxpersona.discover --config configs/quickstart.yaml
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from jaxpersona import methods
from jaxpersona.commands.discover_config import DiscoverConfig, MethodOptions
from jaxpersona.commands.evaluate import main as evaluate
from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_folder import Staging, staged_run
from jaxpersona.commands.shared_config import EvaluateData
from jaxpersona.core.background import meanwhile
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first
from jaxpersona.core.progress import Report
from jaxpersona.core.timing import timed
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import load_pairs
from jaxpersona.discovery.dry_run import plan_of
from jaxpersona.discovery.pipeline import Run, discover
from jaxpersona.masks.bool_npy import write_bool_files
from jaxpersona.masks.bundle import package_versions, save_masks
from jaxpersona.masks.masks import Persona, apply_mask
from jaxpersona.masks.weight_update import masks_of
from jaxpersona.methods.methods import AnyMethod, FirstOrder
from jaxpersona.models.decoding import generate
from jaxpersona.models.model import Found, Model, find, load_model
from jaxpersona.models.perplexity import perplexity, read_text, windows
from jaxpersona.models.perplexity_streamed import perplexities
from jaxpersona.models.resolve import identity
from jaxpersona.models.streamed_model import StreamedModel, load_streamed
from jaxpersona.reporting.html import render
from jaxpersona.reporting.plan_table import print_plan
from jaxpersona.reporting.record import bundle_metadata, make_record
from jaxpersona.reporting.tables import print_answers, print_summary

INTERRUPTED = "what is done is kept; go on with: {again}"
_NOT_ASKED = ("output_dir", "overwrite", "check", "dry_run")  # none of them changes what is found


def main(config: DiscoverConfig) -> None:
    """Writes ``masks/<persona>/``, ``run.json`` and ``report.html`` into ``config.output_dir``, and prints a summary.

    Then evaluates the masks and answers a question under them, if ``config.check`` says so.
    """
    data = config.data
    method, pairs, text = _method(config.method), load_pairs(data.source, data.split), read_text(config.perplexity.text)
    evaluation, mesh = _evaluation(config), make_mesh(config.mesh.data, config.mesh.model)
    if config.dry_run:
        _print_plan(config, method, pairs, mesh)
        return
    with staged_run(config.output_dir, config.overwrite) as staging:
        staging.checkpoints.agree(_asked(config, method, pairs, text), config.overwrite)
        with progress_bars() as report:
            run, perplexity, seconds = _find(config, method, pairs, text, mesh, staging, report)
        record = make_record(run, config, perplexity, seconds)
        if is_first():
            _save_record(record, staging.result)
    print_summary(record, config.output_dir)
    try:
        if config.check.question:
            _answer(run, config.check.question)
        if evaluation is not None:
            evaluate(evaluation)
    except KeyboardInterrupt:
        again = f"python -m jaxpersona.evaluate --run {config.output_dir}"
        raise KeyboardInterrupt(f"the run is complete, only its check is missing: {again}") from None


def _find(
    config: DiscoverConfig,
    method: AnyMethod,
    pairs: Pairs,
    text: str,
    mesh: Mesh,
    staging: Staging,
    report: Report,
) -> tuple[Run, dict[str, float], dict[str, float]]:
    """The run, perplexities by mask name, and seconds by stage, from where the checkpoints left them; saves the masks."""
    data, checkpoints, seconds = config.data, staging.checkpoints, {}
    with timed(seconds, "load"):
        found = find(config.model.name)
        plan_of(config, method, found, mesh).check()
        model = _load(config, found, mesh, report)
    checkpoints.mesh = model.mesh
    checkpoints.agree(_computed_with(model, found), config.overwrite)
    seconds |= {"earlier processes": checkpoints.earlier} if checkpoints.earlier else {}
    measure = functools.partial(
        _perplexity, model, text=text, max_tokens=config.perplexity.max_tokens, checkpoints=checkpoints, report=report
    )
    with timed(seconds, "perplexity"):
        perplexity = measure({"none": None})
    for value in perplexity.values():
        print(f"Perplexity of the dense model on {config.perplexity.text}: {value:.2f}")
    options: dict[str, Any] = {
        "personas": data.personas,
        "num_samples": data.num_samples,
        "text": data.text,
        "max_length": data.max_length,
    }
    options |= {"seed": config.seed, "protocol": config.protocol}
    run = discover(model, pairs, method, **options, report=report, checkpoints=checkpoints)
    seconds |= run.seconds
    save = functools.partial(_save_masks, run, staging.result, seconds, report)
    with meanwhile(save, beside=not config.stream_layers), timed(seconds, "perplexity"):
        perplexity |= measure(run.masks)
    return run, perplexity, seconds


def _asked(config: DiscoverConfig, method: AnyMethod, pairs: Pairs, text: str) -> dict[str, Any]:
    """What the result depends on, before the model is read: a run that was killed goes on only where all of it is the same."""
    keys = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_ASKED}
    texts = {"perplexity.text": text} | (
        {"method.budget_text": read_text(method.budget_text)} if isinstance(method, FirstOrder) else {}
    )
    contents = {key: hashlib.sha256(value.encode()).hexdigest() for key, value in texts.items()}
    return {**keys, "contents": {"data.source": pairs.digest, **contents}, "versions": package_versions()}


def _computed_with(model: Model, found: Found) -> dict[str, Any]:
    """What else the result depends on, to the last bit."""
    # the fingerprint of a streamed model would take a pass over its weights
    streamed = isinstance(model, StreamedModel)
    same = {"files": identity(found.path)} if streamed else {"fingerprint": model.fingerprint}
    dtypes = {"dtype": str(model.params["embed_tokens"]["embedding"].dtype), "batch_dtype": str(model.batch_dtype)}
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return {"weights": {**same, **dtypes}, "devices": devices}


def _print_plan(config: DiscoverConfig, method: AnyMethod, pairs: Pairs, mesh: Mesh) -> None:
    plan = plan_of(config, method, find(config.model.name), mesh, pairs)
    if is_first():
        print_plan(plan)
    plan.check()


def _load(config: DiscoverConfig, found: Found, mesh: Mesh, report: Report) -> Model:
    if config.stream_layers:
        return load_streamed(config.model.name, config.model.dtype, found=found)
    return load_model(config.model.name, config.model.dtype, functools.partial(report, "load"), mesh, found)


def _evaluation(config: DiscoverConfig) -> EvaluateConfig | None:
    """The evaluation that ``config.check`` asks for; its data are read now, so that a mistake shows before the work."""
    check, found_on = config.check, config.data.source
    if not check.num_samples:
        return None
    if check.source is None and not found_on.startswith("builtin:"):
        raise InputError(f"check.num_samples is {check.num_samples}, but {found_on} has no test split; give check.source")
    source = check.source or found_on
    load_pairs(source, "test" if source.startswith("builtin:") else None)
    held_out = EvaluateData(source, num_samples=check.num_samples, max_length=config.data.max_length, text=config.data.text)
    return EvaluateConfig(
        config.output_dir,
        data=held_out,
        controls="fast" if check.controls else False,
        letters=False,
        perplexity=config.perplexity,
        dtype=config.model.dtype,
        seed=config.seed,
        mesh=config.mesh,
    )


def _answer(run: Run, question: str) -> None:
    """Prints what the model answers without a mask and under each."""
    answers = {name: generate(run.model, [question], mask)[0] for name, mask in {"none": None, **run.masks}.items()}
    print_answers(question, answers)


def _method(options: MethodOptions) -> AnyMethod:
    settings = dict(vars(options))
    return methods.by_name(settings.pop("name"), **settings)


def _perplexity(
    model: Model,
    masks: Mapping[str, Persona | None],
    text: str,
    max_tokens: int,
    checkpoints: CheckpointFolder,
    report: Report,
) -> dict[str, float]:
    """Perplexity of the model under each mask (None: as it is), by name; empty when ``max_tokens`` is 0."""
    if max_tokens == 0:
        return {}
    tokens, found = windows(model, text, max_tokens), {}
    if isinstance(model, StreamedModel):
        names = " and ".join(masks)
        progress = functools.partial(report, f"perplexity, {names}")
        return perplexities(model, masks, tokens, progress, checkpoints[f"perplexity {names}"])

    def measure(name: str, mask: Persona | None) -> dict[str, float]:
        params = model.params if mask is None else apply_mask(model.params, mask)
        return {"value": perplexity(model, params, tokens, functools.partial(report, f"perplexity, {name}"))}

    for name, mask in masks.items():
        found[name] = float(checkpoints[f"perplexity {name}"].once(functools.partial(measure, name, mask))["value"])
    return found


def _save_masks(run: Run, folder: pathlib.Path, seconds: dict[str, float], report: Report) -> None:
    for number, (persona, masks) in enumerate(run.masks.items(), start=1):
        with timed(seconds, "save"):
            save_masks(folder / "masks" / persona, masks, bundle_metadata(run, persona))
            if run.calibration.protocol.bool_files and (cut := masks_of(masks)) is not None:
                write_bool_files(folder / "masks" / f"{persona}.bool", cut)
        report("save", number, len(run.masks))


def _save_record(record: dict[str, Any], folder: pathlib.Path) -> None:
    write_atomically(folder / "report.html", render(record))
    write_atomically(folder / "run.json", json.dumps(record, indent=1) + "\n")
