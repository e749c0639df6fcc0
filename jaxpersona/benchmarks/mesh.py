"""Compiles statistics and masks of Llama-3-8B for every mesh shape: bytes sent, parameters per device, compile time.

Programs are compiled for shapes alone, on virtual devices; nothing is computed or allocated.
"""

import functools
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpersona.benchmarks.collectives import bytes_sent
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.random_llama import LLAMA_3_8B
from jaxpersona.benchmarks.sides import run_task
from jaxpersona.calibration.moments import expected, site_sums, weighted_sums
from jaxpersona.core.mesh import make_mesh, sharding_by_output, sharding_of, sharding_of_rows
from jaxpersona.core.protocol import STRICT
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.methods import rowwise
from jaxpersona.methods.wanda import Wanda
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import Decoder, parameter_shapes
from jaxpersona.models.sites import SITE_OF, kernels, module_of

Shapes = Mapping[str, Any]
"""Arrays as ``jax.ShapeDtypeStruct``, by path."""

_WIDTHS = ("vocab_size", "hidden_size", "intermediate_size")


def run(config: BenchmarkConfig) -> Measurements:
    """Measures every mesh shape of every number of devices, for the same batch on all, and for one that grows with ``data``."""
    measured = Measurements("mesh")
    hf_config = LLAMA_3_8B | {key: LLAMA_3_8B[key] // config.divide for key in _WIDTHS}
    options = {"hf_config": hf_config, "rows": config.rows, "length": config.length}
    for count in config.devices:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        devices = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        measured.compare("", run_task("jaxpersona.benchmarks.worker", "mesh", options, devices).values, {})
    return measured


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Compiles for every mesh over all devices of this process, with ``rows`` rows in all (strong) or for each of ``data``."""
    config, count, values = ModelConfig.from_hf(options["hf_config"]), jax.device_count(), {}
    for data in (data for data in range(count, 0, -1) if count % data == 0):
        mesh = make_mesh(data, count // data)
        params = parameters_on(mesh, config)
        masks = [_compile(program, mesh) for program in selection_programs(kernels(params), mesh)]
        held = [sum(2 * sharding_size(leaf, device) for leaf in flatten(params).values()) for device in mesh.devices.flat]
        batches = {"strong": options["rows"], "weak": options["rows"] * data}
        programs = {rows: statistics_program(params, config, mesh, rows, options["length"]) for rows in batches.values()}
        statistics = {rows: _compile(program, mesh) for rows, program in programs.items()}
        for scaling, rows in batches.items():
            sent, compiling = statistics[rows]
            found = {
                "a device sends for statistics of a batch": ("MB", [sent / 1e6]),
                "a device sends for masks": ("MB", [sum(sent for sent, _ in masks) / 1e6]),
                "parameters of a device": ("GB", [max(held) / 1e9]),
                "parameters, most over fewest": ("", [max(held) / min(held)]),
                "compile statistics": ("s", [compiling]),
                "compile masks": ("s", [sum(seconds for _, seconds in masks)]),
            }
            values |= {f"{data}x{count // data} {scaling}: {what}": value for what, value in found.items()}
    return {"values": values}


def parameters_on(mesh: Mesh, config: ModelConfig) -> dict[str, Any]:
    """Returns the shapes of a model's parameters in bfloat16, with their sharding over a mesh."""
    flat = flatten(parameter_shapes(config))
    shardings = {path: sharding_of(path, leaf.shape, mesh) for path, leaf in flat.items()}
    placed = {path: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=shardings[path]) for path, leaf in flat.items()}
    return unflatten(placed)


def sharding_size(leaf: jax.ShapeDtypeStruct, device: jax.Device) -> int:
    """Returns the number of elements of an array that a device holds."""
    spans = leaf.sharding.devices_indices_map(leaf.shape)[device]
    return math.prod(len(range(length)[span]) for span, length in zip(spans, leaf.shape, strict=True))


def statistics_program(params: Shapes, config: ModelConfig, mesh: Mesh, rows: int, length: int) -> Any:
    """Returns the program that sums the statistics of a batch of ``rows`` x ``length`` tokens, lowered."""

    def row(kind: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, kind, sharding=sharding_of_rows(shape, mesh))

    tokens = functools.partial(row, jnp.int32, rows, length)
    batch = Batch(tokens(), tokens(), tokens(), tokens(), row(jnp.float32, 2, rows, length))
    return site_sums.lower(params, batch, Decoder(config, weighted_sums), mesh)


def selection_programs(flat: Shapes, mesh: Mesh) -> list[Any]:
    """Returns the programs that find masks of kernels, lowered: those that shard by output, and those that select."""
    statistics, programs = expected(flat, NamedSharding(mesh, PartitionSpec())), []
    for path, kernel in flat.items():
        split_by_inputs = len(kernel.sharding.spec) > 1 and kernel.sharding.spec[1] == "model"
        split = sharding_by_output(kernel.shape, mesh, split_by_inputs)
        programs.append(jax.jit(lambda kernel: kernel, out_shardings=split).lower(kernel))
        layers, moments = kernel.shape[0], statistics.moments[SITE_OF[module_of(path)]]
        keys = jax.eval_shape(lambda layers=layers: jax.random.split(jax.random.key(0), (layers, 2)))
        kernel = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype, sharding=split)
        keep = jax.ShapeDtypeStruct((layers,), jnp.int32)
        programs.append(rowwise.prune_kernel.lower(Wanda(0.0), STRICT, kernel, keep, moments, keys))
    return programs


def _compile(lowered: Any, mesh: Mesh) -> tuple[float, float]:
    """Returns the bytes that a device sends while a program runs, and the seconds its compilation took."""
    start = time.perf_counter()
    program = lowered.compile()
    return bytes_sent(program.as_text(), mesh.size), time.perf_counter() - start
