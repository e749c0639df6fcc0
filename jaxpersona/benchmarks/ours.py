"""Our side of a comparison, a process of its own: ``python -m jaxpersona.benchmarks.ours TASK OPTIONS.json RESULT.json``.

Counterpart of ``benchmarks/torch_baseline.py``: the same tasks and options.
"""

import dataclasses
import importlib
import json
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from jaxpersona.benchmarks.compilations import Compilations
from jaxpersona.benchmarks.meshes import examine
from jaxpersona.benchmarks.serving import serve
from jaxpersona.calibration import moments
from jaxpersona.commands import cli
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.core.timing import timed
from jaxpersona.data.packing import Batch, whole_rows
from jaxpersona.data.text import TokenizedPair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.masks.masks import Masks
from jaxpersona.methods.methods import Wanda
from jaxpersona.methods.rowwise import prune
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import parameter_shapes
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.precision import pick_dtypes
from jaxpersona.models.sampling import Sampling
from jaxpersona.models.sites import kernels, with_kernels
from jaxpersona.reporting.record import peak_memory_bytes

Options = dict[str, Any]
Seconds = dict[str, float]
_ROW = 256


def discover(options: Options, seconds: Seconds) -> Options:
    """The command ``discover`` with the arguments ``argv``."""
    command = importlib.import_module("jaxpersona.commands.discover")
    config = cli.parse("discover", DiscoverConfig, options["argv"])
    command.main(config)
    run = json.loads((pathlib.Path(config.output_dir) / "run.json").read_text())
    seconds |= run["seconds"]
    return {"tokens": run["data"]["tokens"]}


def multiple_choice(options: Options, seconds: Seconds) -> Options:
    """Summed log-probability of both answers of every one of the tokenized ``pairs``."""
    model = _load(options, seconds)
    pairs = [TokenizedPair(**{key: _tuple(value) for key, value in pair.items()}) for pair in options["pairs"]]
    with timed(seconds, "score"):
        scores = score_answers(model, model.params, pairs)
    return {"scores": scores.log_prob.tolist()}


def generate(options: Options, seconds: Seconds) -> Options:
    """Greedy tokens after each batch of ``prompts``, ``new_tokens`` a prompt whatever the model says; timed once warm."""
    model = dataclasses.replace(_load(options, seconds), eos_ids=())
    prompts = [model.tokenizer.encode(prompt, add_special_tokens=False) for prompt in options["prompts"]]
    found: dict[str, list[float]] = {}
    for size in options["batches"]:
        with timed(seconds, f"first, batch {size}"):
            generate_ids(model, model.params, prompts[:size], options["new_tokens"], Sampling())
        for _ in range(options["repeats"]):
            start = time.perf_counter()
            new = generate_ids(model, model.params, prompts[:size], options["new_tokens"], Sampling())
            found.setdefault(str(size), []).append(sum(map(len, new)) / (time.perf_counter() - start))
    return {"tokens_per_second": found}


def switch(options: Options, seconds: Seconds) -> Options:
    """New parameters under one of two masks, ``repeats`` times to and fro; the first pays for compilation."""
    model = _load(options, seconds)
    rng, masks = np.random.default_rng(0), []
    for _ in range(2):
        bools = {path: jnp.asarray(rng.random(kernel.shape, np.float32) < 0.7) for path, kernel in kernels(model.params).items()}
        masks.append(jax.block_until_ready(Masks.from_bool(with_kernels(model.params, bools))))
    found, current = [], None
    for number in range(options["repeats"]):
        start = time.perf_counter()
        current = jax.block_until_ready(masks[number % 2].apply(model.params, previous=current))
        found.append(time.perf_counter() - start)
    return {"switch": found}


def scaling(options: Options, seconds: Seconds) -> Options:
    """Wanda masks of a random model of shape ``config`` from ``tokens`` random tokens; compiled before it is timed."""
    number, batch_dtype = pick_dtypes(options["dtype"])
    config = ModelConfig.from_hf(json.loads(pathlib.Path(options["config"]).read_text()))
    before = peak_memory_bytes()
    rng = np.random.default_rng(0)

    def random(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / leaf.shape[-1] ** 0.5, number)

    params = jax.tree.map(random, parameter_shapes(config))
    model = Model("random", "random", config, params, PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE())), (), batch_dtype)
    rows = rng.integers(0, config.vocab_size, (options["tokens"] // _ROW, _ROW), np.int32)
    batches = [two_personas(batch) for batch in whole_rows(rows, None, rows=8)]
    prune(params, Wanda(), moments.collect(model, batches[:1]))
    with timed(seconds, "calibrate"):
        found = moments.collect(model, batches)
    with timed(seconds, "mask"):
        prune(params, Wanda(), found)
    return {"before": before}


def mesh(options: Options, seconds: Seconds) -> Options:
    """What ``meshes.examine`` finds for a model ``hf`` in each of the ``cases``, a mesh shape and a batch."""
    return {"measured": [examine(options["hf"], **case) for case in options["cases"]]}


def two_personas(batch: Batch) -> Batch:
    """Whole texts, of which the first half of each row counts for one persona and the rest for the other."""
    first = np.asarray(batch.weights[0]) * (np.asarray(batch.positions) < _ROW // 2)
    return dataclasses.replace(batch, weights=np.stack([first, batch.weights[0] - first]))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _load(options: Options, seconds: Seconds) -> Model:
    with timed(seconds, "load"):
        return load_model(options["model"], options.get("dtype", "auto"))


TASKS = {
    "scaling": scaling,
    "mesh": mesh,
    "discover": discover,
    "multiple_choice": multiple_choice,
    "generate": generate,
    "switch": switch,
    "serve": serve,
}


def main(task: str, options: str, result: str) -> None:
    """Reads ``options``, a JSON file, runs the task, and writes ``result``: what it found, seconds by stage, compilations."""
    settings = json.loads(pathlib.Path(options).read_text())
    seconds = {"import": time.time() - settings["started"]}
    with Compilations() as compilations:
        found = TASKS[task](settings, seconds)
    seconds["of which compile"] = compilations.seconds
    measured = {"seconds": seconds, "peak": peak_memory_bytes(), "compilations": compilations.count}
    pathlib.Path(result).write_text(json.dumps({**found, **measured}))


if __name__ == "__main__":
    main(*sys.argv[1:])
