"""Times switching from one mask to another, both in memory, until the new parameters are there."""

import time
from typing import Any

import jax

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.sides import NOT_RUN, TORCH, load, our_side, random_masks, take_turns, torch_sides, torch_versions
from jaxpersona.models.model_files import open_files

_KEPT = 0.7


def run(config: BenchmarkConfig) -> Measurements:
    """Measures the seconds of a switch, with the first switch of every process apart."""
    opened, options = open_files(config.model), {"switches": config.switches}
    ours = our_side("switch", {**options, "model": str(opened.path), "dtype": config.dtype})
    runs = take_turns(config.repeats, {"ours": ours, **torch_sides(config, opened, "switch", options)})
    measured = Measurements("switch", torch_versions(runs))
    measured.compare("", runs["ours"].values, runs.get(TORCH, NOT_RUN).values)
    return measured


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Makes new parameters under two random masks in turn, and times every switch."""
    model = load(options, seconds)
    masks, times, current = [random_masks(model, _KEPT, seed) for seed in (0, 1)], [], None
    for number in range(options["switches"]):
        start = time.perf_counter()
        current = jax.block_until_ready(masks[number % 2].apply(model.params, previous=current))
        times.append(time.perf_counter() - start)
    return {"values": {"persona": ("s", times[1:] or times), "first, with compilation": ("s", times[:1])}}
