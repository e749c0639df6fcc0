"""Devices as a mesh: how parameters, batches and masks are split among them.

A mesh has the axes ``data``, whose devices read different texts, and ``model``, among which parameters are split. What runs
through ``jax.jit`` on such arrays is split by XLA; statistics are added up explicitly, in ``add_over_rows``. A model on a single
device has no mesh: what takes one takes None.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

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
}
"""How a parameter is split, by the end of its path; others (norms, biases added after a sum) are whole on every device.

One product with a kernel split by outputs and one with a kernel split by inputs need one sum over ``model`` between them
(Shoeybi et al., Megatron-LM, 2019). A dimension that the devices do not divide is not split.
"""


def make_mesh(data: int | None = None, model: int | None = None) -> Mesh:
    """A mesh over all devices of all processes.

    Args:
      data: over how many devices rows of batches are split; by default as many as ``model`` leaves.
      model: over how many devices parameters are split; by default as many as ``data`` leaves, or 1.

    Raises:
      InputError: when the two do not use exactly the devices there are.
    """
    count = jax.device_count()
    if model is None:
        model = 1 if data is None else max(1, count // data)
    data = max(1, count // model) if data is None else data
    if data * model != count:
        raise InputError(
            f"mesh of data {data} x model {model} needs {data * model} devices, there are {count}; "
            "give numbers whose product that is, or leave mesh out"
        )
    devices = mesh_utils.create_device_mesh((data, model), allow_split_physical_axes=True)  # neighbours on a TPU's torus
    return Mesh(devices, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh that the arrays of a pytree lie on; None where that is a single device."""
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.axis_names == AXES:
            return sharding.mesh  # type: ignore[return-value]
    return None


def row_multiple(mesh: Mesh | None) -> int:
    """Of how many rows a batch has a multiple, so that each device of ``data`` has as many."""
    return 1 if mesh is None else mesh.shape["data"]


def shardings(shapes: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """The sharding of every parameter of a tree (of arrays, or of ``jax.ShapeDtypeStruct``), by ``RULES``."""
    return unflatten({path: sharding_of(path, leaf.shape, mesh) for path, leaf in flatten(shapes).items()})


def sharding_of(path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """The sharding of the parameter at ``path``, or of an array shaped like it."""
    return _fitting(mesh, shape, RULES.get("/".join(path.split("/")[-2:]), PartitionSpec()))


def _fitting(mesh: Mesh, shape: tuple[int, ...], spec: PartitionSpec) -> NamedSharding:
    """``spec`` without the axes that do not divide their dimension."""
    kept = []
    for size, axes in zip(shape, spec, strict=False):
        parts = int(np.prod([mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes or ())]))
        kept.append(axes if size % parts == 0 else None)
    return NamedSharding(mesh, PartitionSpec(*kept))


def sharding_of_rows(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Rows [..., row, token] split over ``data``."""
    return _fitting(mesh, shape, PartitionSpec(*[None] * (len(shape) - 2), "data"))


def place_rows(tree: T, mesh: Mesh | None) -> T:
    """Host arrays [..., row, token], each device's rows on it; the same on every process."""
    if mesh is None:
        return tree

    def place(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding_of_rows(leaf.shape, mesh), lambda index: leaf[index])

    return jax.tree.map(place, tree)


def add_over_rows(local: Callable[..., T], mesh: Mesh | None, whole: tuple[Any, ...], rows: tuple[Any, ...]) -> T:
    """``local(*whole, *rows)``, of each device's rows alone and then added up; for use under ``jax.jit``.

    Args:
      local: sums something over its rows.
      whole: pytrees that every row needs, split over ``model`` or not at all.
      rows: pytrees of arrays [..., row, token]. Where ``data`` does not divide the rows, every device reads all of them.
    """
    leaves = jax.tree.leaves(rows)
    shared = mesh is not None and mesh.shape["data"] > 1 and all(leaf.shape[-2] % mesh.shape["data"] == 0 for leaf in leaves)
    if mesh is None or not shared:
        return local(*whole, *rows)

    def of_shard(whole: tuple[Any, ...], rows: tuple[Any, ...]) -> T:
        return jax.lax.psum(local(*whole, *rows), "data")

    specs = jax.tree.map(lambda leaf: sharding_of_rows(leaf.shape, mesh).spec, rows)
    # ``model`` stays automatic. Unchecked, so that a gradient by ``whole`` is that of the shard's rows, and not summed twice.
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
    """Statistics as they are kept: square ones [..., channel, channel] with columns split over ``model``, others whole."""
    if mesh is None:
        return tree

    def pin(leaf: jax.Array) -> jax.Array:
        square = leaf.ndim > 1 and leaf.shape[-1] == leaf.shape[-2]
        spec = PartitionSpec(*[None] * (leaf.ndim - 1), "model") if square else PartitionSpec()
        return jax.lax.with_sharding_constraint(leaf, _fitting(mesh, leaf.shape, spec))

    return jax.tree.map(pin, tree)


def pin_parameters(flat: dict[str, jax.Array], mesh: Mesh | None) -> dict[str, jax.Array]:
    """Arrays by parameter path, such as gradients, split as the parameters are."""
    if mesh is None:
        return flat
    return {path: jax.lax.with_sharding_constraint(leaf, sharding_of(path, leaf.shape, mesh)) for path, leaf in flat.items()}


def sharding_by_output(shape: tuple[int, ...], mesh: Mesh, split_by_inputs: bool = False) -> NamedSharding:
    """The sharding of ``by_output``; ``split_by_inputs`` says how the kernel comes."""
    for axes in (("data", "model") if split_by_inputs else ("model", "data"), "model", "data"):
        split = _fitting(mesh, shape, PartitionSpec(*[None] * (len(shape) - 1), axes))
        if split.spec[-1] is not None:
            return split
    return NamedSharding(mesh, PartitionSpec())


def by_output(array: jax.Array) -> jax.Array:
    """A kernel or mask [..., in, out] with outputs split among all devices, so that each has whole columns to choose from.

    Of a kernel split by outputs every device has its columns already, if ``model`` comes first; one split by inputs takes an
    all-to-all, if it comes last. Where the devices do not divide the outputs, those of ``model`` or ``data`` alone may.
    """
    mesh = mesh_of(array)
    if mesh is None or not isinstance(array.sharding, NamedSharding):
        return array
    by_inputs = dict(enumerate(array.sharding.spec)).get(array.ndim - 2) is not None
    by_columns = dict(enumerate(array.sharding.spec)).get(array.ndim - 1) == ("data", "model")
    return jax.device_put(array, sharding_by_output(array.shape, mesh, by_inputs or by_columns))


def like(kernel: jax.Array, array: jax.Array) -> jax.Array:
    """An array of a kernel's shape, split as the kernel is."""
    mesh = mesh_of(kernel)
    if mesh is None:
        return array
    if not array.sharding.is_equivalent_to(kernel.sharding, array.ndim):  # by way of columns, or it would be gathered whole
        array = jax.device_put(array, _fitting(mesh, array.shape, PartitionSpec(*[None] * (array.ndim - 1), "model")))
    return jax.device_put(array, kernel.sharding)


def to_host(array: Any) -> np.ndarray:
    """The array's values on this process, wherever its shards are; a collective operation where they are elsewhere."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
