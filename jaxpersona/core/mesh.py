"""Device meshes, and the sharding of parameters, batches and masks over them.

A mesh has two axes: batch rows are sharded over ``data``, parameters over ``model``. XLA partitions jitted computations on such
arrays; statistics are summed explicitly, in ``add_over_rows``. On a single device the mesh is None.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxpersona.core import cpu_threads
from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import flatten, unflatten

T = TypeVar("T")
AXES = ("data", "model")

_OUTPUTS, _INPUTS, _BIAS = PartitionSpec(None, None, "model"), PartitionSpec(None, "model", None), PartitionSpec(None, "model")
RULES = {
    "embed_tokens/embedding": PartitionSpec("model", None),  # [vocabulary, hidden]
    "q_proj/kernel": _OUTPUTS,  # [layer, in, out]
    "k_proj/kernel": _OUTPUTS,
    "v_proj/kernel": _OUTPUTS,
    "o_proj/kernel": _INPUTS,
    "gate_proj/kernel": _OUTPUTS,
    "up_proj/kernel": _OUTPUTS,
    "down_proj/kernel": _INPUTS,
    "q_proj/bias": _BIAS,  # [layer, out]
    "k_proj/bias": _BIAS,
    "v_proj/bias": _BIAS,
    "gate_proj/bias": _BIAS,
    "up_proj/bias": _BIAS,
    "lm_head/kernel": PartitionSpec(None, "model"),  # [in, vocabulary]
    "self_attn/k": PartitionSpec(None, None, "model"),  # KV cache [layer, row, KV heads, ...]
    "self_attn/v": PartitionSpec(None, None, "model"),
    "seen": PartitionSpec(None, "model"),  # tokens of the engine's rows [row, vocabulary]
}
"""Partition specs by the last two names of an array's path; other arrays (norms, ``o_proj`` bias) are replicated.

An output-sharded product followed by an input-sharded one needs a single sum over ``model`` (Megatron-LM, Shoeybi et al., 2019).
A dimension that is not a multiple of the number of devices is not sharded.
"""


def make_mesh(data: int | None = None, model: int | None = None) -> Mesh:
    """Returns a mesh over all devices of all processes.

    Args:
      data: number of devices that batch rows are sharded over; by default all devices divided by ``model``.
      model: number of devices that parameters are sharded over; by default all devices divided by ``data``, or 1.

    Raises:
      InputError: if data * model is not the number of devices.
    """
    cpu_threads.start_enough()
    count = jax.device_count()
    if model is None:
        model = 1 if data is None else max(1, count // data)
    data = max(1, count // model) if data is None else data
    if data * model != count:
        raise InputError(
            f"mesh of data {data} x model {model} needs {data * model} devices, there are {count}; "
            f"give numbers whose product is {count}, or leave mesh out"
        )
    devices = mesh_utils.create_device_mesh((data, model), allow_split_physical_axes=True)  # follows a TPU's physical torus
    return Mesh(devices, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def mesh_of(tree: Any) -> Mesh | None:
    """Returns the mesh of the arrays in a pytree; None on a single device."""
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.axis_names == AXES:
            return sharding.mesh  # type: ignore[return-value]
    return None


def row_multiple(mesh: Mesh | None) -> int:
    """Returns the number that batch sizes must be a multiple of, so that ``data`` divides the rows evenly."""
    return 1 if mesh is None else mesh.shape["data"]


def shardings(shapes: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Returns the sharding of every array in a tree of arrays or ``jax.ShapeDtypeStruct``, by ``RULES``."""
    return unflatten({path: sharding_of(path, leaf.shape, mesh) for path, leaf in flatten(shapes).items()})


def sharding_of(path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Returns the sharding of the parameter at ``path``, or of an array of the same shape."""
    return _fitting(mesh, shape, RULES.get("/".join(path.split("/")[-2:]), PartitionSpec()))


def sharding_of_words(path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Returns the sharding of packed masks [..., word, out] of the kernel at ``path``: that of its inputs and outputs."""
    ends = tuple(RULES.get("/".join(path.split("/")[-2:]), ()))[-2:]
    return _fitting(mesh, shape, PartitionSpec(*[None] * (len(shape) - len(ends)), *ends))


def _fitting(mesh: Mesh, shape: tuple[int, ...], spec: PartitionSpec) -> NamedSharding:
    """Returns the sharding of ``spec`` without the mesh axes that do not divide their dimension."""
    kept = []
    for size, axes in zip(shape, spec, strict=False):
        parts = int(np.prod([mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes or ())]))
        kept.append(axes if size % parts == 0 else None)
    return NamedSharding(mesh, PartitionSpec(*kept))


def sharding_of_rows(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Returns the sharding of rows [..., row, token] over ``data``."""
    return _fitting(mesh, shape, PartitionSpec(*[None] * (len(shape) - 2), "data"))


def place_rows(tree: T, mesh: Mesh | None) -> T:
    """Moves host arrays [..., row, token] to the devices, sharded by row; every process passes the same arrays."""
    if mesh is None:
        return tree

    def place(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding_of_rows(leaf.shape, mesh), lambda index: leaf[index])

    return jax.tree.map(place, tree)


def add_over_rows(local: Callable[..., T], mesh: Mesh | None, whole: tuple[Any, ...], rows: tuple[Any, ...]) -> T:
    """Returns ``local(*whole, *rows)``, computed on each device's rows and summed over ``data``; for use under ``jax.jit``.

    Args:
      local: returns sums over the rows it is given.
      whole: pytrees that every row needs, replicated or sharded over ``model``.
      rows: pytrees of arrays [..., row, token]. If ``data`` does not divide the number of rows, every device computes all rows.
    """
    leaves = jax.tree.leaves(rows)
    shared = mesh is not None and mesh.shape["data"] > 1 and all(leaf.shape[-2] % mesh.shape["data"] == 0 for leaf in leaves)
    if mesh is None or not shared:
        return local(*whole, *rows)

    def of_shard(whole: tuple[Any, ...], rows: tuple[Any, ...]) -> T:
        return jax.lax.psum(local(*whole, *rows), "data")

    specs = jax.tree.map(lambda leaf: sharding_of_rows(leaf.shape, mesh).spec, rows)
    # ``model`` stays automatic. With check_vma, gradients with respect to ``whole`` would be summed over ``data`` twice.
    split = jax.shard_map(
        of_shard,
        mesh=mesh,
        in_specs=(PartitionSpec(), specs),
        out_specs=PartitionSpec(),
        axis_names={"data"},
        check_vma=False,
    )
    return split(whole, rows)


def pin_moments(tree: T, mesh: Mesh | None) -> T:
    """Constrains the sharding of statistics: square ones [..., channel, channel] by column over ``model``, others replicated."""
    if mesh is None:
        return tree

    def pin(leaf: jax.Array) -> jax.Array:
        square = leaf.ndim > 1 and leaf.shape[-1] == leaf.shape[-2]
        spec = PartitionSpec(*[None] * (leaf.ndim - 1), "model") if square else PartitionSpec()
        return jax.lax.with_sharding_constraint(leaf, _fitting(mesh, leaf.shape, spec))

    return jax.tree.map(pin, tree)


def spread_over_data(sharding: NamedSharding, shape: tuple[int, ...]) -> NamedSharding:
    """Returns the sharding with ``data`` added to the first whole dimension after the layers that it divides.

    For sums that would otherwise be equal on all devices of ``data``. XLA adds them up by a reduce-scatter.
    """
    spec, mesh = [*sharding.spec, *[None] * (len(shape) - len(sharding.spec))], sharding.mesh
    free = [axis for axis in range(1, len(shape)) if spec[axis] is None and shape[axis] % mesh.shape["data"] == 0]
    if len(shape) > 2 and free:
        spec[free[0]] = "data"
    return NamedSharding(mesh, PartitionSpec(*spec))


def pin_spread(flat: dict[str, jax.Array], mesh: Mesh | None) -> dict[str, jax.Array]:
    """Constrains summed gradients by parameter path, or square second moments by any name, to shards over all devices."""
    if mesh is None:
        return flat

    def pin(path: str, leaf: jax.Array) -> jax.Array:
        square = leaf.ndim > 1 and leaf.shape[-1] == leaf.shape[-2] and "/" not in path
        own = _fitting(mesh, leaf.shape, PartitionSpec(None, None, "model")) if square else sharding_of(path, leaf.shape, mesh)
        return jax.lax.with_sharding_constraint(leaf, spread_over_data(own, leaf.shape))

    return {path: pin(path, leaf) for path, leaf in flat.items()}


def sharding_by_output(shape: tuple[int, ...], mesh: Mesh, split_by_inputs: bool = False) -> NamedSharding:
    """Returns the sharding of ``by_output`` for an array of this shape.

    Args:
      shape: [..., in, out].
      mesh: of the result.
      split_by_inputs: whether the kernel is now sharded by inputs, which determines the cheaper order of mesh axes.
    """
    for axes in (("data", "model") if split_by_inputs else ("model", "data"), "model", "data"):
        split = _fitting(mesh, shape, PartitionSpec(*[None] * (len(shape) - 1), axes))
        if split.spec[-1] is not None:
            return split
    return NamedSharding(mesh, PartitionSpec())


def by_output(array: jax.Array) -> jax.Array:
    """Reshards a kernel or mask [..., in, out] by output over all devices, so that each holds whole columns.

    Output-sharded kernels need no communication, because ``model`` is then the major mesh axis. Input-sharded ones need an
    all-to-all, with ``model`` as the minor axis. If the devices do not divide the outputs, one mesh axis alone is tried.
    """
    mesh = mesh_of(array)
    if mesh is None or not isinstance(array.sharding, NamedSharding):
        return array
    by_inputs = dict(enumerate(array.sharding.spec)).get(array.ndim - 2) is not None
    by_columns = dict(enumerate(array.sharding.spec)).get(array.ndim - 1) == ("data", "model")
    return jax.device_put(array, sharding_by_output(array.shape, mesh, by_inputs or by_columns))


def shard_like(kernel: jax.Array, array: jax.Array) -> jax.Array:
    """Reshards ``array``, of the kernel's shape, to the kernel's sharding."""
    mesh = mesh_of(kernel)
    if mesh is None:
        return array
    if not array.sharding.is_equivalent_to(kernel.sharding, array.ndim):  # in two steps, or XLA gathers the whole array
        array = jax.device_put(array, _fitting(mesh, array.shape, PartitionSpec(*[None] * (array.ndim - 1), "model")))
    return jax.device_put(array, kernel.sharding)


def gathered(array: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Constrains an array to be whole on every device."""
    return array if mesh is None else jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec()))


def to_host(array: Any) -> np.ndarray:
    """Returns the array's values as NumPy; a collective operation if other processes hold shards of it."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
