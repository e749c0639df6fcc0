"""Command: analyzes the masks of runs, and the personas they make.

python -m jaxpersona.analyze --run runs/quickstart
python -m jaxpersona.analyze --run [runs/seed1,runs/seed2] --analysis masks
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping

from rich.console import Console

from jaxpersona.commands.analyses import BY_NAME, check
from jaxpersona.commands.analysis_task import Task
from jaxpersona.commands.analyze_config import AnalyzeConfig
from jaxpersona.commands.analyzed_runs import AnalyzedRun, describe_masks, open_runs
from jaxpersona.commands.certify_all import certify_entanglement
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_folder import ANALYSES_FOLDER, check_owner
from jaxpersona.commands.run_record import read_search, template_of
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import check_output_dir
from jaxpersona.core.processes import is_first
from jaxpersona.core.stage import Stage
from jaxpersona.models.model import Model, load_model
from jaxpersona.reporting.analyses.files import print_analysis, save_analysis
from jaxpersona.reporting.analysis_record import make_record
from jaxpersona.reporting.figures.save import check_matplotlib

INTERRUPTED = "finished analyses are kept; ask for the others with --analysis"


def main(config: AnalyzeConfig) -> None:
    """Writes ``NAME.json``, ``NAME.png`` and ``NAME.svg`` after each analysis, and prints its tables.

    Raises:
      InputError: if an option, a run or the held-out data is invalid, or matplotlib is missing.
    """
    check_matplotlib()
    check(config)
    apart = [name for name in config.names if not BY_NAME[name].together]
    if config.output_dir is not None and len(config.runs) > 1 and apart:
        raise InputError(f"{apart[0]} is done for each run by itself; leave out --output_dir, or give one run")
    for run in config.runs:
        check_output_dir(_folder(config, run))
        check_owner(_folder(config, run), config.runs)
    model = _load(config) if any(BY_NAME[name].needs_model for name in config.names) else None
    runs = open_runs(config.runs, model)
    for name in config.names:
        for group in [runs] if BY_NAME[name].together else [{label: run} for label, run in runs.items()]:
            _analyze(name, group, config, model)


def _folder(config: AnalyzeConfig, run: str | pathlib.Path) -> pathlib.Path:
    return pathlib.Path(config.output_dir or pathlib.Path(run) / ANALYSES_FOLDER).expanduser()


def _load(config: AnalyzeConfig) -> Model:
    record = read_search(config.runs[0])
    return load_model(record["model"]["name"], config.dtype, template=template_of(record))


def _analyze(name: str, runs: Mapping[str, AnalyzedRun], config: AnalyzeConfig, model: Model | None) -> None:
    """Does one analysis of one run, or of several together."""
    analysis, first = BY_NAME[name], next(iter(runs.values()))
    folder = _folder(config, first.folder)
    pairs = None
    if analysis.needs_pairs:
        data = config.data
        pairs, _ = first.on_disk.held_out(data.source, data.split, data.num_samples, config.seed)
    started = time.monotonic()
    with progress_bars() as report:
        result = analysis.compute(Task(runs, config, model, pairs, Stage(report, name=name)))
    options = {key: value for key, value in dataclasses.asdict(config).items() if key not in ("run", "analysis", "output_dir")}
    described = None if pairs is None else {"source": pairs.source, "sha256": pairs.digest, "pairs": len(pairs)}
    about = {key: first.record["model"][key] for key in ("name", "fingerprint")}
    record = make_record(name, options, about, describe_masks(runs), described, result, time.monotonic() - started)
    if is_first():
        written = save_analysis(folder, record)
        if name == "entanglement":
            certify_entanglement(runs, record)
        console = Console(markup=False, emoji=False)  # names and paths may contain brackets
        print_analysis(console, record)
        console.print(f"{record['seconds']:.1f} s. Written: {folder} ({', '.join(written)})", soft_wrap=True)
