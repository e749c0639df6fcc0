"""Times greedy generation, in tokens per second once warm, beside the ``generate`` of Transformers in its faster dtype."""

import dataclasses
import functools
import statistics
import time
from typing import Any

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.sides import draw_pairs, load, our_side, take_turns, torch_sides, torch_versions
from jaxpersona.core.timing import timed
from jaxpersona.data.text import chat_text
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model_files import open_files
from jaxpersona.models.sampling import Sampling

_REPEATS = 3  # in each process


def run(config: BenchmarkConfig) -> Measurements:
    """Measures the tokens per second of every batch size."""
    opened, pairs = open_files(config.model), draw_pairs(config.data, "test", max(config.batches))
    prompts = [chat_text(opened.tokenizer, pair.prompt) for pair in pairs]
    options = {"prompts": prompts, "batches": config.batches, "new_tokens": config.new_tokens, "repeats": _REPEATS}
    theirs = torch_sides(config, opened, "generate", options, ("float32", "bfloat16"))
    ours = our_side("generate", {**options, "model": str(opened.path), "dtype": config.dtype})
    runs = take_turns(config.repeats, {"ours": ours, **theirs})
    measured = Measurements("generate", torch_versions(runs))
    for batch, (unit, rates) in runs["ours"].values.items():
        others = {dtype: runs[dtype].values[batch][1] for dtype in theirs}
        best = max(others, key=lambda dtype: statistics.median(others[dtype]), default="")
        name = f"{batch}, PyTorch in {best}" if best else batch
        measured.add(name, unit, rates, others.get(best, ()))
    return measured


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Generates ``new_tokens`` tokens after each prompt, also past the end of a turn, in batches of each size."""
    model = dataclasses.replace(load(options, seconds), eos_ids=())
    prompts = [model.tokenizer.encode(prompt, add_special_tokens=False) for prompt in options["prompts"]]
    values: dict[str, tuple[str, list[float]]] = {}
    for size in options["batches"]:
        generate = functools.partial(generate_ids, model, model.params, prompts[:size], options["new_tokens"], Sampling())
        with timed(seconds, f"first, batch {size}"):
            generate()
        values[f"batch {size}"] = ("tokens/s", [])
        for _ in range(options["repeats"]):
            start = time.perf_counter()
            tokens = sum(map(len, generate()))
            values[f"batch {size}"][1].append(tokens / (time.perf_counter() - start))
    return {"values": values}
