"""Command: has the base model and the masks of runs answer a questionnaire.

python -m jaxpersona.questionnaire --run runs/axes --questionnaire axes
python -m jaxpersona.questionnaire --run runs/quickstart --questionnaire ipip_neo_120
python -m jaxpersona.questionnaire --run runs/lighthouse --questionnaire reaction --script builtin:lighthouse
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from jaxpersona.analysis.axes import AxesAnswers
from jaxpersona.analysis.ipip_neo import RESPONDENTS, IpipNeoAnswers
from jaxpersona.analysis.persona_types import type_masks
from jaxpersona.analysis.reactions import ReactionAnswers
from jaxpersona.commands.analyzed_runs import AnalyzedRun, describe_masks, labelled, open_runs
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.questionnaire_config import QuestionnaireConfig
from jaxpersona.commands.run_folder import ANALYSES_FOLDER, check_owner
from jaxpersona.commands.run_record import read_search, template_of, text_of
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import check_output_dir
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first
from jaxpersona.core.stage import Stage
from jaxpersona.data.axes_questionnaire import AXES
from jaxpersona.data.neutral_text import read_text
from jaxpersona.data.scripts import PREFIX, Reaction, read_reactions, script_folder
from jaxpersona.data.text import TextMode
from jaxpersona.evaluation.choices import finite
from jaxpersona.evaluation.evaluator import BASE
from jaxpersona.masks.masks import Masks, apply_mask
from jaxpersona.masks.weight_update import masks_of
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.perplexity import perplexity, windows
from jaxpersona.models.persona import Persona
from jaxpersona.reporting.analyses.files import print_analysis, save_analysis
from jaxpersona.reporting.analysis_record import make_record
from jaxpersona.reporting.figures.save import check_matplotlib

Answers = AxesAnswers | IpipNeoAnswers | ReactionAnswers


def main(config: QuestionnaireConfig) -> None:
    """Writes ``NAME.json``, ``NAME.png`` and ``NAME.svg``, and prints tables.

    Raises:
      InputError: if an option, a run, the script or the items' packages are missing or invalid, or matplotlib is missing.
    """
    check_matplotlib()
    check_output_dir(_folder(config))
    folders, started = run_folders(config.runs), time.monotonic()
    check_owner(_folder(config), folders)
    reactions = read_reactions(config.script) if config.script is not None else []
    records = [read_search(folder) for folder in folders]
    record = records[0]
    with progress_bars() as report:
        stage = Stage(report)
        mesh = make_mesh(config.mesh.data, config.mesh.model)
        model = load_model(
            record["model"]["name"], config.dtype, mesh=mesh, template=template_of(record), stage=stage.part("load")
        )
        text: TextMode = config.text or text_of(record)
        answers = _ask(config, model, reactions, text, stage)
        runs = open_runs(folders, model)
        result = _answer(config, model, runs, answers, stage)
    options = {key: value for key, value in dataclasses.asdict(config).items() if key not in ("run", "output_dir", "mesh")}
    about = {key: record["model"][key] for key in ("name", "fingerprint")}
    seconds = time.monotonic() - started
    made = make_record(config.questionnaire, {**options, "text": text}, about, describe_masks(runs), None, result, seconds)
    if is_first():
        _save(config, made)


def run_folders(paths: list[str]) -> list[str]:
    """Returns the folders of runs; a folder without a run stands for the runs in it, by name.

    Raises:
      InputError: if a folder has neither.
    """
    found = []
    for path in paths:
        folder = pathlib.Path(path).expanduser()
        inside = [] if (folder / "run.json").is_file() else sorted(file.parent for file in folder.glob("*/run.json"))
        if not inside:
            read_search(path)  # says what is wrong with it
        found += [str(one) for one in inside] or [path]
    return found


def _ask(config: QuestionnaireConfig, model: Model, reactions: list[Reaction], text: TextMode, stage: Stage) -> Answers:
    """Returns the questionnaire, without answers."""
    if config.questionnaire == "ipip_neo_120":
        return IpipNeoAnswers(model, text, config.respondents or RESPONDENTS, config.sampled, config.seed, stage)
    if config.questionnaire == "reaction":
        return ReactionAnswers(model, reactions, text, config.letters, config.sampled, config.seed, stage)
    return AxesAnswers(model, text, config.letters, config.sampled, config.seed, stage)


def _answer(
    config: QuestionnaireConfig, model: Model, runs: Mapping[str, AnalyzedRun], answers: Answers, stage: Stage
) -> dict[str, Any]:
    """Has every case answer, and returns the results."""
    personas, combined = _cases(runs), {}
    if isinstance(answers, AxesAnswers):
        combined = _types(personas, config)
    tokens = None
    if config.perplexity.max_tokens:
        tokens = windows(model, read_text(config.perplexity.text), config.perplexity.max_tokens)
    damage: dict[str, float | None] = {}
    for number, (case, persona) in enumerate({BASE: None, **personas, **combined}.items(), start=1):
        params = model.params if persona is None else apply_mask(model.params, persona)
        damage[case] = None if tokens is None else finite(perplexity(model, params, tokens))
        if isinstance(answers, AxesAnswers):
            answers.add(case, params, likelihood_only=case in combined and config.types == "likelihood")
        else:
            answers.add(case, params)
        stage.part("cases").progress(number, 1 + len(personas) + len(combined))
    if isinstance(answers, ReactionAnswers) and config.script is not None:
        answers.combine(_masks_by_character(runs, personas, config.script))
    return answers.record(damage)


def _cases(runs: Mapping[str, AnalyzedRun]) -> dict[str, Persona]:
    """Returns the personas by case: the letter of a pole, a character's name, or their label."""
    cases: dict[str, Persona] = {}
    for label, (run, name) in labelled(runs).items():
        source, first = run.on_disk.source or "", name == run.on_disk.personas[0]
        axis = AXES.get(source.removeprefix("builtin:"))
        case = label if axis is None else axis[0 if first else 1]
        if case in cases:
            raise InputError(f"two masks are for {case}; give one run for each axis")
        cases[case] = run.personas[name]
    order = "".join(AXES.values())
    return dict(sorted(cases.items(), key=lambda item: order.find(item[0]) if len(item[0]) == 1 else len(order)))


def _types(personas: Mapping[str, Persona], config: QuestionnaireConfig) -> dict[str, Masks]:
    """Returns the masks of the 16 types; none unless there is a mask of every pole."""
    poles = {case: mask for case, persona in personas.items() if (mask := masks_of(persona)) is not None}
    complete = all(letter in poles for letters in AXES.values() for letter in letters)
    if not complete and (config.combine != "all" or config.types != "likelihood"):
        raise InputError("combine and types are about the 16 types, which need a run on each built-in axis; leave them out")
    return type_masks(poles, config.combine) if complete else {}


def _masks_by_character(runs: Mapping[str, AnalyzedRun], personas: Mapping[str, Persona], script: str) -> dict[str, str]:
    """Returns, by character of the script, the case of the mask that was found on its lines."""
    found, folder = {}, script_folder(script).resolve()
    for label, (run, name) in labelled(runs).items():
        source = run.on_disk.source or ""
        spec, _, character = source.removeprefix(PREFIX).rpartition(":")
        first = name == run.on_disk.personas[0]
        if source.startswith(PREFIX) and first and label in personas and script_folder(spec).resolve() == folder:
            found[character] = label
    return found


def _folder(config: QuestionnaireConfig) -> pathlib.Path:
    return pathlib.Path(config.output_dir or pathlib.Path(config.runs[0]) / ANALYSES_FOLDER).expanduser()


def _save(config: QuestionnaireConfig, record: dict[str, Any]) -> None:
    folder = _folder(config)
    written = save_analysis(folder, record)
    console = Console(markup=False, emoji=False)  # names and paths may contain brackets
    print_analysis(console, record)
    console.print(f"{record['seconds']:.1f} s. Written: {folder} ({', '.join(written)})", soft_wrap=True)
