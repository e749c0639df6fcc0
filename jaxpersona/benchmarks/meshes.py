"""What a mesh makes of the programs of discovery, compiled for shapes alone: communication, shares of memory, compile time."""

import functools
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpersona.benchmarks.collectives import bytes_sent
from jaxpersona.calibration.moments import expected, site_sums, weighted_sums
from jaxpersona.core.mesh import make_mesh, sharding_by_output, sharding_of, sharding_of_rows
from jaxpersona.core.protocol import STRICT
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.methods import rowwise
from jaxpersona.methods.methods import Wanda
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import Decoder, parameter_shapes
from jaxpersona.models.sites import SITE_OF, kernels, module_of

Shapes = Mapping[str, Any]


def examine(hf: Mapping[str, Any], data: int, model: int, rows: int, length: int) -> dict[str, float]:
    """Of statistics of one batch and of Wanda masks, on a mesh over all devices of this process.

    Args:
      hf: a model's ``config.json``.
      rows: of the batch, over all devices.
      length: tokens of a row.

    Returns:
      Bytes a device sends in ``statistics`` and in ``masks``, seconds to compile each, and bytes of parameters on the device with
      the most of them (``most``) and on that with the fewest (``fewest``).
    """
    mesh, config = make_mesh(data, model), ModelConfig.from_hf(dict(hf))
    params = parameters_on(mesh, config)
    statistics = _compiled(statistics_program(params, config, mesh, rows, length), mesh)
    selected = [_compiled(program, mesh) for program in selection_programs(kernels(params), mesh)]
    held = [sum(2 * sharding_size(leaf, device) for leaf in flatten(params).values()) for device in mesh.devices.flat]
    return {
        "statistics": statistics[0],
        "masks": sum(sent for sent, _ in selected),
        "compile statistics": statistics[1],
        "compile masks": sum(seconds for _, seconds in selected),
        "most": max(held),
        "fewest": min(held),
    }


def parameters_on(mesh: Mesh, config: ModelConfig) -> dict[str, Any]:
    """The shapes of a model's parameters in bfloat16, and where on a mesh they would lie."""
    return unflatten(
        {
            path: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=sharding_of(path, leaf.shape, mesh))
            for path, leaf in flatten(parameter_shapes(config)).items()
        }
    )


def sharding_size(leaf: jax.ShapeDtypeStruct, device: jax.Device) -> int:
    """How many numbers of an array a device holds."""
    index = leaf.sharding.devices_indices_map(leaf.shape)[device]
    size = 1
    for span, length in zip(index, leaf.shape, strict=True):
        size *= len(range(length)[span])
    return size


def _compiled(lowered: Any, mesh: Mesh) -> tuple[float, float]:
    """Bytes a device sends while a program runs, and the seconds it took to compile."""
    start = time.perf_counter()
    program = lowered.compile()
    return bytes_sent(program.as_text(), mesh.size), time.perf_counter() - start


def statistics_program(params: Shapes, config: ModelConfig, mesh: Mesh, rows: int, length: int) -> Any:
    """The program that sums the statistics of a batch, before it is compiled."""

    def row(kind: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, kind, sharding=sharding_of_rows(shape, mesh))

    tokens = functools.partial(row, jnp.int32, rows, length)
    batch = Batch(tokens(), tokens(), tokens(), tokens(), row(jnp.float32, 2, rows, length))
    return site_sums.lower(params, batch, Decoder(config, weighted_sums), mesh)


def selection_programs(flat: Shapes, mesh: Mesh) -> list[Any]:
    """The programs that make masks of kernels: those that split them by outputs, and those that choose."""
    statistics, found = expected(flat, NamedSharding(mesh, PartitionSpec())), []
    for path, kernel in flat.items():
        split = sharding_by_output(kernel.shape, mesh, len(kernel.sharding.spec) > 1 and kernel.sharding.spec[1] == "model")
        found.append(jax.jit(lambda kernel: kernel, out_shardings=split).lower(kernel))
        layers, moments = kernel.shape[0], statistics.moments[SITE_OF[module_of(path)]]
        keys = jax.eval_shape(lambda layers=layers: jax.random.split(jax.random.key(0), (layers, 2)))
        kernel = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype, sharding=split)
        keep = jax.ShapeDtypeStruct((layers,), jnp.int32)
        found.append(rowwise.prune_kernel.lower(Wanda(0.0), STRICT, kernel, keep, moments, keys))
    return found
