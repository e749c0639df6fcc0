"""Times finding the masks of two personas: the whole process and by stage, with different things kept from before.

A run is ``cold`` with an empty cache, ``warm`` with compiled programs, and ``next`` also with what ``taylor`` keeps of a model.
"""

import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.sides import NOT_RUN, TORCH, both_texts, draw_pairs, our_side, take_turns, torch_sides, torch_versions
from jaxpersona.commands import cli, discover
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.masks.bundle import load_masks
from jaxpersona.masks.masks import Masks
from jaxpersona.methods.registry import by_name
from jaxpersona.models.model_files import open_files
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import hf_name

_TAYLOR_SPARSITY = 0.03


def run(config: BenchmarkConfig) -> Measurements:
    """Measures seconds by stage, peak memory, the bytes of both masks, and their agreement with PyTorch's."""
    opened, first = open_files(config.model), config.methods[0]
    texts = [both_texts(opened.tokenizer, pair) for pair in draw_pairs(config.data, "train", config.num_samples)]
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as work:
        folder, sides = pathlib.Path(work), {}
        masks, files = folder / first / "masks", folder / "torch"
        for method in config.methods:
            for state in states(method):
                argv = _arguments(config, method, opened.path, folder / method, keeps=state != "warm")
                options = {"argv": argv, "cache": str(folder / "cache"), "cold": state == "cold"}
                sides[f"{method}, {state}"] = our_side("discover", options, cold=state == "cold")
        options = {"texts": dict(zip(("seek", "reject"), zip(*texts, strict=True), strict=True))}
        options |= {"sparsity": config.sparsity, "output": str(files)}
        runs = take_turns(config.repeats, {**sides, **torch_sides(config, opened, "discover", options)})
        measured = Measurements("discover", torch_versions(runs))
        for name in sides:
            method, _, state = name.partition(", ")
            as_warm = "cold" if state == "cold" else "warm"
            baseline = runs.get(TORCH, NOT_RUN) if method == first else runs[f"{first}, {as_warm}"]
            measured.compare(f"{name}: ", runs[name].process, baseline.process)
        measured.add("bytes of both masks", "MB", [_megabytes(masks)], [_megabytes(files)] if TORCH in runs else [])
        if TORCH in runs and first == "wanda":
            measured.add("Jaccard of our masks and PyTorch's", "of 1", [agreement(masks, files)])
    return measured


def states(method: str) -> tuple[str, ...]:
    """Returns the kinds of runs that are timed, in an order in which each finds what it needs."""
    return ("cold", "warm", "next") if _is_taylor(method) else ("cold", "warm")


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Runs the command ``discover`` with the arguments ``argv``; its seconds by stage are those of ``run.json``.

    ``cache`` is the folder in which factors are kept; it is emptied first if the run is ``cold``.
    """
    if options["cold"]:
        shutil.rmtree(options["cache"], ignore_errors=True)
    os.environ["JAXPERSONA_CACHE"] = options["cache"]
    config = cli.parse("discover", DiscoverConfig, options["argv"])
    discover.main(config)
    seconds |= json.loads((pathlib.Path(config.output_dir) / "run.json").read_text())["seconds"]
    return {"values": {}}


def agreement(masks: pathlib.Path, files: pathlib.Path) -> float:
    """Returns the Jaccard overlap of our bundles and PyTorch's bool files (out, in), over both personas."""
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


def _arguments(config: BenchmarkConfig, method: str, model: pathlib.Path, output_dir: pathlib.Path, keeps: bool) -> list[str]:
    sparsity = _TAYLOR_SPARSITY if _is_taylor(method) else config.sparsity
    settings = {"model.name": model, "model.dtype": config.dtype, "data.source": config.data}
    settings |= {"data.num_samples": config.num_samples, "method.name": method, "method.sparsity": sparsity}
    settings |= {"reuse_factors": str(keeps).lower()}
    settings |= {"perplexity.max_tokens": 0, "output_dir": output_dir, "overwrite": "true"}
    return [f"--{key}={value}" for key, value in settings.items()]


def _is_taylor(method: str) -> bool:
    return by_name(method).name == "taylor"


def _megabytes(folder: pathlib.Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
