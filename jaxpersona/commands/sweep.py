"""Command: compares methods over budgets, numbers of calibration pairs and seeds.

python -m jaxpersona.sweep --config configs/sweep_builtin.yaml
python -m jaxpersona.sweep --config configs/sweep_sets.yaml
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpersona.commands.masks_on_disk import MasksOnDisk
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.sweep_config import SweepConfig
from jaxpersona.commands.sweep_sets import sweeps_of
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import check_output_dir, write_atomically
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first
from jaxpersona.core.protocol import PROTOCOLS
from jaxpersona.core.stage import Stage
from jaxpersona.data.neutral_text import read_text
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.readers import builtin_prompts, load_pairs
from jaxpersona.evaluation.prompts import why_left_out
from jaxpersona.evaluation.sweep.grid import PROMPT, Cell, plan
from jaxpersona.evaluation.sweep.runner import CellRunner
from jaxpersona.evaluation.sweep.store import Store
from jaxpersona.models.model import Model, load_model
from jaxpersona.reporting.figures.save import check_matplotlib, save_figures
from jaxpersona.reporting.sweep_markdown import sweep_markdown
from jaxpersona.reporting.sweep_table import print_sweep

INTERRUPTED = "finished cells are kept; run the same command again to resume"


@dataclasses.dataclass(frozen=True)
class _Sweep:
    """A sweep of one data set: its configuration, what it has read, and its cells."""

    config: SweepConfig
    pairs: Pairs
    held_out: Pairs
    cells: list[Cell]


def main(config: SweepConfig) -> None:
    """Writes ``sweep.json`` after every cell, then ``sweep.csv``, ``sweep.md`` and the figures, and prints a table.

    Several data sets have a folder each, and one ``sweep.md`` for all of them.

    Raises:
      InputError: if an option, the data or the model is invalid, matplotlib is missing, or a folder has another sweep.
    """
    check_matplotlib()
    check_output_dir(pathlib.Path(config.output_dir).expanduser())
    sweeps, results = {name: _read(each) for name, each in sweeps_of(config).items()}, {}
    with progress_bars() as report:
        stage = Stage(report)
        model = _load(config)
        opened = {name: _open(sweep, model, stage.part(name) if config.sets else stage) for name, sweep in sweeps.items()}
        for name, (runner, store) in opened.items():
            results[name] = store
            _run(sweeps[name].cells, runner, store)
            if is_first():
                store.write_csv()
                write_atomically(store.folder / "sweep.md", _markdown({name: store}, config))
                if config.sets:
                    write_atomically(pathlib.Path(config.output_dir).expanduser() / "sweep.md", _markdown(results, config))
    for store in results.values() if is_first() else ():
        figures = save_figures(store.record, config.data.personas, config.goal, store.folder)
        files = ["sweep.json", "sweep.csv", "sweep.md", *figures]
        print_sweep(store.record, config.data.personas, files, str(store.folder))
    if config.sets and is_first():
        print(f"Written: {config.output_dir} (sweep.md)")


def _read(config: SweepConfig) -> _Sweep:
    pairs = load_pairs(config.data.source, config.data.split)
    return _Sweep(config, pairs, _held_out(config, pairs), _plan(config, pairs))


def _open(sweep: _Sweep, model: Model, stage: Stage) -> tuple[CellRunner, Store]:
    """Returns what runs a sweep's cells, and its folder: of all data sets, before the first cell of any."""
    runner = _cell_runner(sweep, model, stage)
    return runner, Store(sweep.config.output_dir, _inputs(sweep.config, runner, sweep.cells), sweep.config.overwrite)


def _run(cells: Sequence[Cell], runner: CellRunner, store: Store) -> None:
    """Runs the cells that the sweep's folder does not have."""
    counter = runner.stage.part("cells")
    for number, cell in enumerate(cells, start=1):
        counter.progress(number - 1, len(cells))
        if not store.has(cell):
            store.add(runner.run(cell))
        counter.progress(number, len(cells))


def _markdown(stores: Mapping[str, Store], config: SweepConfig) -> str:
    return sweep_markdown({name: store.record for name, store in stores.items()}, config.data.personas)


def _listed(values: Any) -> list[Any]:
    """Returns a list of one value or of the given values, because options accept both; no values for None."""
    return values if isinstance(values, list) else [values] if values is not None else []


def _plan(config: SweepConfig, pairs: Pairs) -> list[Cell]:
    baselines = _listed(config.baselines)
    sizes = [min(size, len(pairs)) for size in _listed(config.data.num_samples)]
    cells = plan(_listed(config.methods), sizes, _listed(config.seeds), config.controls, baselines, PROTOCOLS[config.protocol])
    if (config.prompts or PROMPT in baselines) and not _prompts(config):
        raise InputError(f"{config.data.source} has no built-in persona prompts; give two as prompt_texts")
    return cells


def _prompts(config: SweepConfig) -> tuple[str, str] | None:
    return config.prompt_texts or builtin_prompts(config.data.source)


def _held_out(config: SweepConfig, pairs: Pairs) -> Pairs:
    """Returns the held-out pairs, after checking them against the pairs that any cell calibrates on."""
    data, most = config.held_out, max(_listed(config.data.num_samples))
    seen = {pair.digest for seed in _listed(config.seeds) for pair in pairs.sample(most, seed)}
    masks = MasksOnDisk(config.model.name, config.data.personas, {}, config.data.source, seen, split=config.data.split)
    return masks.held_out(data.source, data.split, data.num_samples, _listed(config.seeds)[0])[0]


def _cell_runner(sweep: _Sweep, model: Model, stage: Stage) -> CellRunner:
    config = sweep.config
    data, evaluated, texts = config.data, config.held_out, _prompts(config)
    needs_prompts = config.prompts or PROMPT in _listed(config.baselines)
    return CellRunner(
        model,
        sweep.pairs,
        sweep.held_out,
        data.personas,
        data.text,
        data.max_length,
        read_text(config.perplexity.text),
        {
            "text": evaluated.text or data.text,
            "max_length": evaluated.max_length,
            "neutral_tokens": config.perplexity.max_tokens,
            "letters": config.letters,
            "rag_k": config.rag_k,
            "baseline_damage": config.baseline_damage,
        },
        PROTOCOLS[config.protocol],
        dict(zip(data.personas, texts, strict=True)) if needs_prompts and texts else {},
        config.prompts,
        config.reuse_factors,
        stage,
    )


def _load(config: SweepConfig) -> Model:
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    return load_model(config.model.name, config.model.dtype, mesh=mesh, template=config.data.template)


def _inputs(config: SweepConfig, runner: CellRunner, cells: Sequence[Cell]) -> dict[str, Any]:
    """Returns the inputs that the rows depend on. A sweep resumes only if all are equal."""
    methods = {cell.label: cell.method for cell in cells if cell.kind == "method"}
    texts = {f"{label}: {key}": text for label, method in methods.items() for key, text in method.texts().items()}
    contents = {"perplexity.text": runner.neutral, **texts}
    ignored = ("output_dir", "overwrite", "goal", "mesh", "reuse_factors", "sets")
    options = {key: value for key, value in dataclasses.asdict(config).items() if key not in ignored}
    data = {
        name: {"source": pairs.source, "sha256": pairs.digest, "pairs": len(pairs)}
        for name, pairs in (("calibration", runner.pairs), ("held_out", runner.held_out))
    }
    most = min(max(_listed(config.data.num_samples)), len(runner.pairs))
    texts = runner.calibration(most, _listed(config.seeds)[0]).texts_digest
    model = {"name": runner.model.name, "fingerprint": runner.model.fingerprint, "texts_sha256": texts}
    left_out = why_left_out(runner.model, runner.evaluation["text"]) if runner.prompts else None
    sha256 = {key: hashlib.sha256(text.encode()).hexdigest() for key, text in contents.items()}
    return {"config": options, "model": model, "data": data, "contents": sha256, "left_out": left_out}
