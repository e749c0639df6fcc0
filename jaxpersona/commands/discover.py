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

from jaxpersona.calibration.calibrate import Calibration, calibrate
from jaxpersona.calibration.described_pairs import DescribedPairs, check_describable, describe, placeholders
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.commands.command_line import command_line
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.evaluate_masks import check_evaluation, evaluate_masks
from jaxpersona.commands.masks_on_disk import MasksOnDisk, of_run
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_folder import Staging, staged_run
from jaxpersona.commands.shared_config import EvaluateData, MeshOptions
from jaxpersona.core.background import in_background
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first, wait_for_all
from jaxpersona.core.stage import Stage
from jaxpersona.core.timing import timed
from jaxpersona.data.descriptions import PAIRS_FILE, Descriptions, parse_descriptions
from jaxpersona.data.neutral_text import read_text
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import held_out_split, load_pairs
from jaxpersona.discovery.layout import mesh_line, smallest_fitting_mesh
from jaxpersona.discovery.pipeline import Run, discover
from jaxpersona.discovery.plan import Devices, Plan, Texts
from jaxpersona.inference.generate import generate, prompt_rows
from jaxpersona.masks.bool_npy import write_bool_files
from jaxpersona.masks.bundle import package_versions, save_masks
from jaxpersona.masks.masks import apply_mask
from jaxpersona.masks.weight_update import masks_of
from jaxpersona.methods.method import Method
from jaxpersona.methods.registry import by_name
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.model_files import ModelFiles, open_files
from jaxpersona.models.perplexity import check_perplexity, perplexity, windows
from jaxpersona.models.perplexity_streamed import perplexities
from jaxpersona.models.persona import Persona
from jaxpersona.models.precision import pick_dtypes
from jaxpersona.models.resolve import identity
from jaxpersona.models.streamed_model import StreamedModel, load_streamed
from jaxpersona.reporting.page.render import render
from jaxpersona.reporting.page.run_files import RunFiles
from jaxpersona.reporting.plan_table import print_plan
from jaxpersona.reporting.record import bundle_metadata, make_record
from jaxpersona.reporting.run_tables import print_answer, print_summary

INTERRUPTED = "what is done is kept; resume with: {again}"
_NO_INFLUENCE = ("output_dir", "overwrite", "reuse_factors", "check", "dry_run")  # none of them changes the masks
_ROW, _ROWS = 256, 16  # of a batch of a device, unless texts are long or few


@dataclasses.dataclass
class _Job:
    """A discovery that was asked for: the configuration, and what it names.

    Attributes:
      source: the pairs, or the descriptions from which the model writes them.
      text: neutral text on which perplexity is measured.
      stage: progress and checkpoints.
      evaluation: the evaluation that follows; None if there is none.
      described: the pairs that the model has written; None for other data.
      answers: the answers to the question of the check so far: mask, question, answer.
      seconds: wall time by stage so far.
    """

    config: DiscoverConfig
    method: Method
    source: Pairs | Descriptions
    text: str
    mesh: Mesh
    stage: Stage
    evaluation: EvaluateConfig | None = None
    described: DescribedPairs | None = None
    answers: list[dict[str, str]] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)


def main(config: DiscoverConfig) -> None:
    """Writes ``masks/<persona>/``, ``run.json`` and ``report.html`` into ``config.output_dir``, and prints a summary.

    Then evaluates the masks, if ``config.check`` says so.
    """
    settings = dict(vars(config.method))
    method = by_name(settings.pop("name"), **settings)
    source = parse_descriptions(config.data.source) or _read_pairs(config)
    text, evaluation = read_text(config.perplexity.text), _evaluation(config)
    seconds: dict[str, float] = {}
    with timed(seconds, "load"):
        config, mesh, files = _laid_out(config, method)
    if config.dry_run:
        _dry_run(config, method, source, mesh, files)
        return
    with staged_run(config.output_dir, config.overwrite) as staging:
        staging.checkpoints.agree(_settings(config, method, source, text), config.overwrite)
        with progress_bars() as report:
            job = _Job(config, method, source, text, mesh, Stage(report, staging.checkpoints), evaluation, seconds=seconds)
            run, perplexity = _find(job, files, staging)
        record = make_record(run, dataclasses.asdict(config), perplexity, job.seconds)
        if job.described is not None:
            record["data"]["described"] = job.described.record()
        record["answers"] = job.answers
        if is_first():
            _save_record(record, config.output_dir, staging.result)
    print_summary(record, config.output_dir)
    model, masks = run.model, run.masks
    del run  # and with it the statistics, which take more memory than the model
    if evaluation is not None:
        try:
            evaluate_masks(evaluation, of_run(config.output_dir), model, masks)
        except KeyboardInterrupt:
            again = command_line("evaluate", evaluation)
            raise KeyboardInterrupt(f"the run is complete, its check is not; resume it with: {again}") from None


def _read_pairs(config: DiscoverConfig) -> Pairs:
    """Reads the calibration pairs; refuses the file of a run that is about to be replaced."""
    pairs = load_pairs(config.data.source, config.data.split)
    own = pathlib.Path(config.output_dir).expanduser() / PAIRS_FILE
    if own.exists() and own.resolve() == pathlib.Path(config.data.source).expanduser().resolve():
        raise InputError(
            f"data.source {config.data.source} belongs to the run in output_dir, which would be replaced; copy it elsewhere, or "
            "choose another output_dir"
        )
    return pairs


def _laid_out(config: DiscoverConfig, method: Method) -> tuple[DiscoverConfig, Mesh, ModelFiles]:
    """Returns the configuration with ``stream_layers`` decided, the mesh, and the model's files."""
    mesh, files = make_mesh(config.mesh.data, config.mesh.model), open_files(config.model.name, config.data.template)
    method.check_model(files.config)

    def plan_on(mesh: Mesh, stream_layers: bool = False) -> Plan:
        return _plan(dataclasses.replace(config, stream_layers=stream_layers), method, mesh, files, _expected_texts(config, mesh))

    if mesh.size > 1 and config.mesh == MeshOptions() and not config.stream_layers:
        mesh = smallest_fitting_mesh(plan_on)
        print(f"Chosen: {mesh_line(plan_on(mesh))}", flush=True)
    if config.stream_layers is not None:
        return config, mesh, files
    shortage = plan_on(mesh).shortage if mesh.size == 1 and not method.updates_weights else None
    try:
        streams = shortage is not None and plan_on(mesh, stream_layers=True).shortage is None
    except InputError:  # the check, or pairs from descriptions, need the whole model
        streams = False
    if streams:
        print(f"The model is read layer by layer (stream_layers): with all of it in memory {shortage}.")
    return dataclasses.replace(config, stream_layers=streams), mesh, files


def _expected_texts(config: DiscoverConfig, mesh: Mesh) -> Texts:
    """Returns the shapes of the texts as they are assumed to be before they are read."""
    return Texts(config.data.num_samples, None, 1, _ROWS * mesh.shape["data"], _ROW)


def _find(job: _Job, files: ModelFiles, staging: Staging) -> tuple[Run, dict[str, float]]:
    """Returns the run and perplexities by mask name, resumed from the checkpoints; saves the masks."""
    config, data, checkpoints = job.config, job.config.data, staging.checkpoints
    with timed(job.seconds, "load"):
        _plan(job.config, job.method, job.mesh, files, _expected_texts(config, job.mesh)).check()
        calibration = _prepared(job, files)
        model = _load(job, files)
    checkpoints.mesh = model.mesh
    checkpoints.agree(_environment(model, files), config.overwrite)
    calibration = calibration or _written(job, files, model, staging.result / PAIRS_FILE)
    checkpoints.agree({"texts": calibration.texts_digest}, config.overwrite)
    job.seconds |= {"earlier processes": checkpoints.earlier} if checkpoints.earlier else {}
    with timed(job.seconds, "perplexity"):
        found = _perplexity(job, model, {"none": None})
    for value in found.values():
        print(f"Perplexity of the base model on {config.perplexity.text}: {value:.2f}", flush=True)
    run = discover(
        model,
        calibration.pairs,
        job.method,
        personas=data.personas,
        **_calibration(config),
        generated=TextAmount(data.generated_texts, data.generated_length),
        reuse_factors=config.reuse_factors,
        stage=job.stage,
        on_found=functools.partial(_answer, job, model),
    )
    job.seconds |= run.seconds
    save = functools.partial(_save_masks, job, run, staging.result)
    with in_background(save, beside=not config.stream_layers), timed(job.seconds, "perplexity"):
        found |= _perplexity(job, model, run.masks)
    return run, found


def _prepared(job: _Job, files: ModelFiles) -> Calibration | None:
    """Checks what can be checked before the weights are read.

    Returns:
      The drawn pairs, tokenized; None if the model is to write them.
    """
    config = job.config
    if config.check.question:
        prompt_rows(_without_weights(config, files), [config.check.question], chat=config.data.text == "chat")
    if isinstance(job.source, Descriptions):
        check_describable(_without_weights(config, files), job.source, config.data.text)
        return None
    calibration = _drawn(config, files, job.source)
    _check_the_check(job, calibration)
    return calibration


def _written(job: _Job, files: ModelFiles, model: Model, path: pathlib.Path) -> Calibration:
    """Lets the model write the pairs, saves them, and returns the drawn ones, tokenized."""
    config, source = job.config, job.source
    assert isinstance(source, Descriptions)
    options = {"num_samples": config.data.num_samples, "text": config.data.text, "seed": config.seed, "stage": job.stage}
    with timed(job.seconds, "describe"):
        job.described = described = describe(model, source.first, source.second, **options)
    if is_first():
        write_atomically(path, described.jsonl())
    wait_for_all("wrote the pairs")
    print(described.summary(), flush=True)
    if job.evaluation is not None and config.check.source is None and not described.test:
        raise InputError("the model wrote no usable pairs for the check; give check.source, or leave out check.num_samples")
    calibration = _drawn(config, files, described.train)
    _check_the_check(job, calibration, path)
    return calibration


def _drawn(config: DiscoverConfig, files: ModelFiles, pairs: Pairs) -> Calibration:
    """Returns the drawn pairs, tokenized."""
    return calibrate(_without_weights(config, files), pairs, **_calibration(config))


def _without_weights(config: DiscoverConfig, files: ModelFiles) -> Model:
    return Model(config.model.name, files.origin, files.config, {}, files.tokenizer, files.eos_ids)


def _calibration(config: DiscoverConfig) -> dict[str, Any]:
    """Returns the options of ``calibrate``."""
    data = {name: getattr(config.data, name) for name in ("num_samples", "text", "max_length")}
    return {**data, "seed": config.seed, "protocol": config.protocol}


def _load(job: _Job, files: ModelFiles) -> Model:
    options = job.config.model
    if job.config.stream_layers:
        return load_streamed(options.name, options.dtype, files=files)
    return load_model(options.name, options.dtype, mesh=job.mesh, files=files, stage=job.stage.part("load"))


def _check_the_check(job: _Job, calibration: Calibration, described: pathlib.Path | None = None) -> None:
    """Refuses an evaluation that could not be done, before the work that it would follow.

    Args:
      job: the discovery.
      calibration: the drawn pairs.
      described: file of the pairs that the model wrote.
    """
    config, model, evaluation = job.config, calibration.model, job.evaluation
    if evaluation is None:
        return
    seen, personas = {pair.digest for pair in calibration.pairs}, config.data.personas
    masks = MasksOnDisk(config.model.name, personas, {}, config.data.source, seen, described=described)
    check_evaluation(evaluation, masks, model)
    neutral = evaluation.controls == "fast" or (isinstance(evaluation.controls, list) and "neutral" in evaluation.controls)
    if neutral and config.method.name != "steering":
        windows(model, job.text)  # which the control is calibrated on


def _answer(job: _Job, model: Model, name: str, persona: Persona) -> None:
    """Prints and keeps the answer under a new persona; before the first, that of the base model."""
    config, question = job.config, job.config.check.question
    if not question:
        return
    cases = [("none", None), (name, persona)] if name == config.data.personas[0] else [(name, persona)]
    for mask, under in cases:
        short_lived = dataclasses.replace(model)  # with it goes the compact copy of the parameters that it answers from
        answer = generate(short_lived, [question], under, chat=config.data.text == "chat")[0]
        print_answer(question, mask, answer)
        job.answers.append({"mask": mask, "question": question, "answer": answer})


def _settings(config: DiscoverConfig, method: Method, source: Pairs | Descriptions, text: str) -> dict[str, Any]:
    """Returns the inputs that determine the result and are known before the model is loaded; a run resumes only if they match."""
    keys = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NO_INFLUENCE}
    texts = {"perplexity.text": text, **method.texts()}
    contents = {key: hashlib.sha256(value.encode()).hexdigest() for key, value in texts.items()}
    return {**keys, "contents": {"data.source": source.digest, **contents}, "versions": package_versions()}


def _environment(model: Model, files: ModelFiles) -> dict[str, Any]:
    """Returns all other inputs that can change the result, even in the last bit."""
    # the fingerprint of a streamed model would take a pass over its weights
    streamed = isinstance(model, StreamedModel)
    weights = {"files": identity(files.path)} if streamed else {"fingerprint": model.fingerprint}
    dtypes = {"dtype": str(model.params["embed_tokens"]["embedding"].dtype), "batch_dtype": str(model.batch_dtype)}
    return {"weights": {**weights, **dtypes}, "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}


def _plan(config: DiscoverConfig, method: Method, mesh: Mesh, files: ModelFiles, texts: Texts) -> Plan:
    itemsize = pick_dtypes(config.model.dtype)[0].itemsize
    max_tokens, streams = config.perplexity.max_tokens, bool(config.stream_layers)
    return Plan(files.config, method, texts, Devices.of(mesh), itemsize, max_tokens, streams)


def _dry_run(config: DiscoverConfig, method: Method, source: Pairs | Descriptions, mesh: Mesh, files: ModelFiles) -> None:
    """Prints the plan, from the model's header and the packed data, and refuses what cannot fit."""
    if isinstance(source, Descriptions):
        calibration = placeholders(_without_weights(config, files), source, **_calibration(config))
        print("The model would write the pairs, from two descriptions; the plan assumes answers of the greatest length.")
    else:
        calibration = _drawn(config, files, source)
    texts = Texts.of(calibration, mesh.shape["data"], shared_prefix="statistics" in method.needs)
    plan = _plan(config, method, mesh, files, texts)
    if is_first():
        print_plan(plan)
    plan.check()


def _evaluation(config: DiscoverConfig) -> EvaluateConfig | None:
    """Returns the evaluation that ``config.check`` asks for; reads its data now, so that a mistake shows before the work."""
    check, found_on = config.check, config.data.source
    if not check.num_samples:
        return None
    source = check.source or found_on
    split = held_out_split(source, config.data.split if source == found_on else None)
    if check.source is None and split is None:
        raise InputError(
            f"check.num_samples is {check.num_samples}, but {found_on} has no test split; give check.source, or data.split train"
        )
    if source != found_on or parse_descriptions(source) is None:  # else the model has yet to write the pairs
        load_pairs(source, split)
    held_out = EvaluateData(source, split, check.num_samples, config.data.max_length, config.data.text)
    return EvaluateConfig(
        config.output_dir,
        data=held_out,
        controls="fast" if check.controls is True else check.controls,
        prompted=check.prompted,
        letters=False,
        perplexity=config.perplexity,
        dtype=config.model.dtype,
        seed=config.seed,
        mesh=config.mesh,
    )


def _perplexity(job: _Job, model: Model, masks: Mapping[str, Persona | None]) -> dict[str, float]:
    """Returns the perplexity under each mask (None: the base model), by name; empty if ``perplexity.max_tokens`` is 0."""
    max_tokens, stage = job.config.perplexity.max_tokens, job.stage.part("perplexity")
    if max_tokens == 0:
        return {}
    tokens = windows(model, job.text, max_tokens)
    if isinstance(model, StreamedModel):
        found = perplexities(model, masks, tokens, stage.part(" and ".join(masks)))
        return {name: check_perplexity(value, job.config.perplexity.text, name) for name, value in found.items()}

    def measure(name: str, mask: Persona | None) -> dict[str, float]:
        params = model.params if mask is None else apply_mask(model.params, mask)
        return {"value": perplexity(model, params, tokens, stage.part(name))}

    saved = {name: stage.part(name).once(functools.partial(measure, name, mask)) for name, mask in masks.items()}
    text = job.config.perplexity.text
    return {name: check_perplexity(float(found["value"]), text, name) for name, found in saved.items()}


def _save_masks(job: _Job, run: Run, folder: pathlib.Path) -> None:
    for number, (persona, masks) in enumerate(run.masks.items(), start=1):
        with timed(job.seconds, "save"):
            save_masks(folder / "masks" / persona, masks, bundle_metadata(run, persona))
            if run.calibration.protocol.bool_files and (cut := masks_of(masks)) is not None:
                write_bool_files(folder / "masks" / f"{persona}.bool", cut)
        job.stage.part("save").progress(number, len(run.masks))


def _save_record(record: dict[str, Any], path: str, folder: pathlib.Path) -> None:
    write_atomically(folder / "report.html", render(RunFiles(path, record)))
    write_atomically(folder / "run.json", json.dumps(record, indent=1) + "\n")
