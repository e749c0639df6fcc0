"""Times calibration and masks of random Llamas in memory, against the number of tokens, layers and channels."""

import dataclasses
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.random_llama import byte_tokenizer, hf_config, random_array
from jaxpersona.benchmarks.sides import our_side, take_turns
from jaxpersona.calibration import moments
from jaxpersona.core.memory import peak_memory_bytes
from jaxpersona.core.timing import timed
from jaxpersona.data.packing import Batch, whole_rows
from jaxpersona.methods.rowwise import prune
from jaxpersona.methods.wanda import Wanda
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import parameter_shapes
from jaxpersona.models.model import Model
from jaxpersona.models.precision import pick_dtypes

_BASE = {"tokens": 16384, "layers": 8, "width": 512}
_SIZES = {"tokens": (8192, 16384, 32768), "layers": (4, 8, 16), "width": (512, 1024, 2048)}
_ROW, _ROWS = 256, 8  # tokens of a row, rows of a batch


def run(config: BenchmarkConfig) -> Measurements:
    """Measures seconds and memory, one size varied at a time, and the slopes of lines through the logarithms."""
    varied = {f"{name} {size}": {**_BASE, name: size} for name, sizes in _SIZES.items() for size in sizes}
    sides = {name: our_side("scaling", {"dtype": config.dtype, **sizes}) for name, sizes in varied.items()}
    runs = take_turns(config.repeats, sides)
    measured = Measurements("scaling")
    for name, sizes in _SIZES.items():
        for size in sizes:
            measured.compare(f"{name} {size}: ", runs[f"{name} {size}"].values, {})
        for what in runs[f"{name} {sizes[0]}"].values:
            medians = [statistics.median(runs[f"{name} {size}"].values[what][1]) for size in sizes]
            measured.add(f"{name}: exponent of {what}", "", [slope(sizes, medians)])
    return measured


def slope(sizes: Any, values: Any) -> float:
    """Returns the exponent p of values ~ sizes ** p, by least squares on the logarithms.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Finds Wanda masks of a random model (MLP three times as wide) from random tokens; programs are compiled before timing."""
    before = peak_memory_bytes()
    parameter_dtype, batch_dtype = pick_dtypes(options["dtype"])
    config = ModelConfig.from_hf(hf_config(options["layers"], options["width"], 3 * options["width"], 1024))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(random_array(rng, *leaf.shape), parameter_dtype), parameter_shapes(config))
    model = Model("random", "random", config, params, byte_tokenizer(), (), batch_dtype)
    rows = rng.integers(0, config.vocab_size, (options["tokens"] // _ROW, _ROW), np.int32)
    batches = [_two_personas(batch) for batch in whole_rows(rows, None, _ROWS)]
    prune(params, Wanda(), moments.collect(model, batches[:1]))
    with timed(seconds, "calibrate"):
        statistics = moments.collect(model, batches)
    with timed(seconds, "mask"):
        prune(params, Wanda(), statistics)
    memory = (peak_memory_bytes() - before) / 1e6
    times = {stage: ("s", [seconds[stage]]) for stage in ("calibrate", "mask")}
    return {"values": {**times, "memory above start": ("MB", [memory])}}


def _two_personas(batch: Batch) -> Batch:
    """Counts the first half of each row for one persona, and the second for the other."""
    first = np.asarray(batch.weights[0]) * (np.asarray(batch.positions) < _ROW // 2)
    return dataclasses.replace(batch, weights=np.stack([first, batch.weights[0] - first]))
