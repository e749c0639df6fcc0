"""Times requests of several personas: a batch in the engine beside one request after another, with masks folded in beforehand."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.sides import NOT_RUN, load, our_side, random_masks, take_turns
from jaxpersona.inference.engine import Engine
from jaxpersona.inference.requests import Request
from jaxpersona.masks.masks import Masks, apply_mask
from jaxpersona.models.cached_forward import in_form, pick_form
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model

_RATE = "beside one after another"
_KEPT = 0.95
_REPEATS = 3  # in each process


def run(config: BenchmarkConfig) -> Measurements:
    """Measures tokens per second, the memory that the engine holds in sizes of the model, and peak memory of the process.

    The baseline of peak memory is a process that gives the same prompts, one after another, to the base model.
    """
    options = {"model": config.model, "dtype": config.dtype, "requests": config.requests, "new_tokens": config.max_new_tokens}
    kinds = [(kind, count) for count in config.personas for kind in ("folded", "packed") if kind == "packed" or count <= 2]
    others = [*(("alone", count) for count in config.personas), ("alone", 0)] if config.baseline else []
    asked = {f"{kind} {count}": {**options, "kind": kind, "personas": count} for kind, count in (*kinds, *others)}
    runs = take_turns(config.repeats, {side: our_side("engine", options) for side, options in asked.items()})
    measured = Measurements("engine")
    for kind, count in kinds:
        name, ours = f"{config.requests} requests of {count} personas, {kind}", runs[f"{kind} {count}"]
        alone, base = (runs.get(side, NOT_RUN) for side in (f"alone {count}", "alone 0"))
        measured.compare(f"{name}: ", ours.values, alone.values)
        peaks = {"peak memory beside the model alone": ours.process["peak memory"]}
        measured.compare(f"{name}: ", peaks, dict.fromkeys(peaks, base.process.get("peak memory", ("MB", []))))
    return measured


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Serves the requests repeatedly; returns tokens per second of every time but the first, which compiles, and memory held.

    Args:
      options: ``kind`` is ``folded`` or ``packed`` for the engine, ``alone`` for one request after another; ``personas`` is their
        number, 0 for the base model.
    """
    model = dataclasses.replace(load(options, seconds), eos_ids=(-1,))
    count, new = options["personas"], options["new_tokens"]
    personas = {f"p{seed}": random_masks(model, _KEPT, seed) for seed in range(count)}
    asked = [
        Request(f"How would you spend a bonus of {number} dollars?", f"p{number % count}" if count else None, max_new_tokens=new)
        for number in range(options["requests"])
    ]
    if options["kind"] == "alone":
        rates = [_one_after_another(model, personas, asked) for _ in range(_REPEATS + 1)]
        return {"values": {_RATE: ("tokens/s", rates[1:])}}
    longest = max(len(request.ids(model.tokenizer)) for request in asked) + new
    engine = Engine(model, personas, rows=len(asked), max_length=longest, weights=options["kind"], resident=count)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    del model  # of which a packed engine may hold another form
    rates = [_batched(engine, asked) for _ in range(_REPEATS + 1)]
    held = sum(engine.memory().values()) / size
    return {"values": {_RATE: ("tokens/s", rates[1:]), "weights, masks and cache": ("of the model's", [held])}}


def _batched(engine: Engine, asked: Sequence[Request]) -> float:
    """Returns the engine's tokens per second."""
    start = time.perf_counter()
    tokens = sum(len(generation.ids) for generation in engine.generate(asked))
    return tokens / (time.perf_counter() - start)


def _one_after_another(model: Model, personas: dict[str, Masks], asked: Sequence[Request]) -> float:
    """Returns the tokens per second of one compiled loop per request. Folding a persona's masks in, once, is not timed."""
    seconds, tokens = 0.0, 0
    for name, masks in {**personas, None: None}.items():
        folded = model.params if masks is None else apply_mask(model.params, masks)
        folded = jax.block_until_ready(in_form(model, folded, pick_form(model, 1)))
        for request in (one for one in asked if one.persona == name):
            ids = request.ids(model.tokenizer)
            start = time.perf_counter()
            [answer] = generate_ids(model, folded, [ids], request.max_new_tokens, request.sampling)
            seconds, tokens = seconds + time.perf_counter() - start, tokens + len(answer)
    return tokens / seconds
