"""Finding the masks of two personas: the whole process, with a cold and a warm compilation cache, and by stage."""

import dataclasses
import pathlib
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.benchmarks import subject
from jaxpersona.benchmarks.processes import OURS, Finished, baseline, cache_in, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.data.readers import load_pairs
from jaxpersona.masks.bundle import load_masks
from jaxpersona.masks.masks import Masks
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import hf_name


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares discovery with a plain PyTorch rendering of the recipe: time by stage, memory, bytes written, agreement.

    Args:
      model: smollm2-135m-instruct, a Hugging Face folder, or a .gguf file
      data: builtin:NAME or a file of pairs
      num_samples: calibration pairs
      sparsity: of the masks
      methods: the first beside PyTorch's Wanda, the others beside the first
      dtype: of our parameters and computation
      baseline: also run PyTorch
      repeats: how often each side runs, one after the other
      output: JSON file for the rows
    """

    model: str = "smollm2-135m-instruct"
    data: str = "builtin:wealth"
    num_samples: int = 128
    sparsity: float = 0.3
    methods: list[str] = dataclasses.field(default_factory=lambda: ["wanda"])
    dtype: str = "auto"
    baseline: bool = True
    repeats: int = 3
    output: str | None = None


def run(config: Config) -> list[Row]:
    """Rows ``discover/...``; both sides alternate, ours with an empty compilation cache and then with the one it filled."""
    theirs = baseline() if config.baseline else None
    prepared = subject.prepare(config.model)
    pairs = load_pairs(config.data, "train" if config.data.startswith("builtin:") else None).sample(config.num_samples, 42)
    both = [subject.texts(prepared.model, pair) for pair in pairs]
    texts = {"seek": [first for first, _ in both], "reject": [second for _, second in both]}
    runs: dict[str, list[Finished]] = {}
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as work:
        folder = pathlib.Path(work)
        for _ in range(config.repeats):
            for method in config.methods:
                shutil.rmtree(folder / "cache", ignore_errors=True)
                for state in ("cold", "warm"):
                    runs.setdefault(f"{method}, {state}", []).append(_ours(config, method, prepared.path, folder))
            if theirs:
                shutil.rmtree(folder / "torch", ignore_errors=True)
                options = {"model": prepared.folder, "texts": texts, "sparsity": config.sparsity, "output": str(folder / "torch")}
                runs.setdefault("torch", []).append(run_process(theirs, "discover", options))
        main, torch = config.methods[0], runs.get("torch", [])
        found = place(processor(), torch[0].result if torch else None)
        rows = _rows(runs, torch, main, found)
        rows += [row("discover/bytes of both masks", [_size(folder / main / "masks")], _sizes(folder / "torch"), "MB", **found)]
        if torch and main == "wanda":
            same = agreement(folder / main / "masks", folder / "torch")
            rows.append(row("discover/Jaccard of our masks and PyTorch's", [same], [], "of 1", **found))
    return rows


def _ours(config: Config, method: str, model: str, folder: pathlib.Path) -> Finished:
    settings = {
        "model.name": model,
        "model.dtype": config.dtype,
        "data.source": config.data,
        "data.num_samples": config.num_samples,
        "method.name": method,
        "method.sparsity": config.sparsity if method != "first_order" else 0.03,
        "perplexity.max_tokens": 0,
        "check.num_samples": 0,
        "output_dir": folder / method,
        "overwrite": "true",
    }
    options = {"argv": [f"--{key}={value}" for key, value in settings.items()]}
    return run_process(OURS, "discover", options, cache_in(str(folder / "cache")))


def _rows(runs: Mapping[str, Sequence[Finished]], torch: Sequence[Finished], main: str, found: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, finished in runs.items():
        if name == "torch":
            continue
        other = torch if name.startswith(f"{main},") else runs[f"{main}, {name.rpartition(', ')[2]}"]
        rows.append(row(f"discover/{name}: process", _seconds(finished), _seconds(other), "s", **found))
        stages, theirs = _stages(finished), _stages(other)
        for stage, values in stages.items():
            rows.append(row(f"discover/{name}: {stage}", values, theirs.get(stage, []), "s", **found))
        peaks, their_peaks = ([run.result["peak"] / 1e6 for run in side] for side in (finished, other))
        rows.append(row(f"discover/{name}: peak memory", peaks, their_peaks, "MB", **found))
    return rows


def _seconds(runs: Sequence[Finished]) -> list[float]:
    return [run.seconds for run in runs]


def _stages(runs: Sequence[Finished]) -> dict[str, list[float]]:
    """Seconds by stage of each run; scoring, which we do not do apart, counts to ``mask``; without stages of no time."""
    found: dict[str, list[float]] = {}
    for run in runs:
        seconds = dict(run.result["seconds"])
        seconds["mask"] = seconds.get("mask", 0.0) + seconds.pop("score", 0.0)
        for stage, value in seconds.items():
            found.setdefault(stage, []).append(value)
    return {stage: values for stage, values in found.items() if statistics.median(values) > 1e-3}


def _size(folder: pathlib.Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _sizes(folder: pathlib.Path) -> list[float]:
    return [_size(folder)] if folder.is_dir() else []


def agreement(masks: pathlib.Path, files: pathlib.Path) -> float:
    """Jaccard of our bundles and PyTorch's bool files (out, in), over both personas."""
    either = common = 0
    for persona in masks.iterdir():
        ours = load_masks(persona)
        assert isinstance(ours, Masks)
        for path, kept in kernels(ours.to_bool()).items():
            for layer, mine in enumerate(np.asarray(kept)):
                name = hf_name(path, layer).removesuffix(".weight")
                other = np.load(files / persona.name / f"model.{name}.npy").T
                common += int((mine & other).sum())
                either += int((mine | other).sum())
    return common / either
