"""Every program of discover, evaluate and the engine, at a model's full shape, lowered for a mesh; nothing is allocated.

    python tests/programs.py v5e:4x4 4x4 Llama-3-8B

compiles them for a TPU that is not there (libtpu) and prints a line of JSON for each. A name, or the beginning of one, chooses
programs. The lines of several runs make one table of Markdown:

    python tests/programs.py table FILE

Without compiling, the meshes on which methods fit by the plan (``discovery/plan.py``):

    python tests/programs.py plans
"""

import functools
import itertools
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import mesh_utils, topologies
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxpersona.benchmarks.mesh import Shapes, parameters_on, selection_programs
from jaxpersona.benchmarks.peaks import peak_of
from jaxpersona.benchmarks.random_llama import LLAMA_3_8B
from jaxpersona.calibration import fisher
from jaxpersona.calibration.backward import FACTORS, GRADIENT, zero_sums
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.calibration.moments import site_sums, weighted_sums
from jaxpersona.calibration.taylor_statistics import BATCH_TOKENS
from jaxpersona.core.mesh import AXES, sharding_by_output, sharding_of, sharding_of_rows, sharding_of_words, spread_over_data
from jaxpersona.core.tree import unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.discovery.plan import Devices, Plan, Texts
from jaxpersona.evaluation.answers import answer_sums
from jaxpersona.inference import steps
from jaxpersona.methods import sparsegpt_kernel, taylor_masks
from jaxpersona.methods.registry import by_name
from jaxpersona.models import decoding, perplexity
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import Decoder, Personas
from jaxpersona.models.sampling import Sampling, settings_of
from jaxpersona.models.sites import kernels, module_of
from jaxpersona.ops.bitpack import word_rows

Program = tuple[str, Callable[[], Any]]
"""Name of a program, and a function that traces it (or lowers it, where operations are of no interest)."""
LLAMA_2_13B = LLAMA_3_8B | {
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
    "vocab_size": 32000,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
}
QWEN_2_5_14B = LLAMA_3_8B | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "vocab_size": 152064,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "rope_theta": 1000000.0,
}
MODELS = {"Llama-3-8B": LLAMA_3_8B, "Qwen2.5-14B": QWEN_2_5_14B, "Llama-2-13B": LLAMA_2_13B}
SLICES = {"v5e-16": (16, 15.75 * 2**30), "v6e-8": (8, 31.25 * 2**30), "v4-8": (4, 30.75 * 2**30)}
"""Chips of a slice, and bytes of a chip that programs may use, by libtpu."""
AS_IF_ON_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "JAX_PLATFORMS": "cpu",
}
_LENGTH, _ROWS, _WINDOW = 256, 8, 512  # tokens of a row, rows of a device, tokens of a perplexity window
_BATCHES, _ANSWER_TOKENS = 13, 128  # batches of calibration data, answer tokens in a row
_METHODS = ("wanda", "sparsegpt", "taylor")
_PERSONAS, _SLOTS, _PROMPT, _CACHE = 8, 16, 128, 512


def programs_of(config: ModelConfig, mesh: Mesh) -> Iterator[Program]:
    """Yields all programs, with the shapes of 128 pairs and of an engine of 16 rows and 8 personas."""
    params = parameters_on(mesh, config)
    yield from discover_programs(params, config, mesh)
    yield from taylor_programs(params, config, mesh)
    yield from engine_programs(params, config, mesh)


def discover_programs(params: Shapes, config: ModelConfig, mesh: Mesh) -> Iterator[Program]:
    """Yields the programs of ``wanda`` and ``sparsegpt``, of perplexity and of scoring answers."""
    rows, flat = _ROWS * mesh.shape["data"], kernels(params)
    batch = _batch(rows, mesh)
    yield "wanda: statistics of a batch", lambda: site_sums.trace(params, batch, Decoder(config, weighted_sums), mesh)
    for path in ("layers/mlp/down_proj/kernel", "layers/mlp/gate_proj/kernel"):
        yield f"wanda: masks of {module_of(path)}", lambda path=path: selection_programs({path: flat[path]}, mesh)[-1]
    yield "sparsegpt: Hessians of a batch", lambda: site_sums.trace(params, batch, Decoder(config, outer_sums), mesh)
    for path in ("layers/mlp/down_proj/kernel", "layers/mlp/gate_proj/kernel"):
        yield f"sparsegpt: masks of {module_of(path)}", lambda path=path: _solved(flat[path], path, mesh)
    tokens = _row(jnp.int32, mesh, mesh.shape["data"], _WINDOW)
    yield "perplexity of a window", lambda: perplexity._window_nll.trace(Decoder(config), params, tokens)
    starts = jax.ShapeDtypeStruct((128,), jnp.int32)
    yield (
        "evaluate: answers of a batch",
        lambda: answer_sums.trace(params, batch, starts, Decoder(config), mesh, _ANSWER_TOKENS),
    )


def taylor_programs(params: Shapes, config: ModelConfig, mesh: Mesh) -> Iterator[Program]:
    """Yields the programs of ``taylor``: generating text, evidence, and one choice at a price."""
    amount, flat = TextAmount(), kernels(params)
    settings = settings_of([Sampling(temperature=1.0)] * amount.texts)
    text = jax.ShapeDtypeStruct((amount.texts, 8), jnp.int32), jax.ShapeDtypeStruct((amount.texts,), jnp.int32)
    key, numbers = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((amount.texts,), jnp.int32)
    options = Decoder(config), (), amount.length - 2
    yield "taylor: generating text", lambda: decoding._decode.trace(*options, params, *text, key, numbers, settings)
    yield "taylor: gradient and factors of pairs", lambda: _backward(params, config, mesh)
    for path in ("layers/mlp/down_proj/kernel", "layers/mlp/gate_proj/kernel"):
        yield f"taylor: choice of {module_of(path)}", lambda path=path: _choice(flat[path], path, mesh)


def engine_programs(params: Shapes, config: ModelConfig, mesh: Mesh) -> Iterator[Program]:
    """Yields prefill, insert and decode of an engine with packed masks, whose arrays are sharded as the parameters are."""
    decoder = Decoder(config)
    bank = unflatten({path: _banked(path, kernel, mesh) for path, kernel in kernels(params).items()})

    def rows(count: int) -> steps.Rows:
        whole = functools.partial(jax.ShapeDtypeStruct, (count,))
        return steps.Rows(whole(jnp.int32), whole(jnp.int32), whole(jnp.uint32), settings_of([Sampling()] * count))

    def ids(count: int) -> Personas:
        return Personas(jax.ShapeDtypeStruct((count,), jnp.int32))

    def state(count: int, length: int) -> Any:
        shapes = jax.eval_shape(lambda: steps.empty_state("stacked", config, count, length, jnp.bfloat16))
        return jax.tree.map(_like, shapes, steps.shardings_of(shapes, mesh))

    tokens = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    prompt = tokens((1, _PROMPT))
    yield "engine: prefill", lambda: steps.prefill.trace(decoder, params, bank, ids(1), prompt, rows(1))
    prompt_state = state(1, _PROMPT - 1)
    yield "engine: insert", lambda: steps.insert.trace(state(_SLOTS, _CACHE), tokens(()), prompt_state)
    active = jax.ShapeDtypeStruct((_SLOTS,), bool)
    operands = params, bank, ids(_SLOTS), state(_SLOTS, _CACHE), tokens((_SLOTS,)), active, rows(_SLOTS)
    yield "engine: decode", lambda: steps.decode.trace(decoder, *operands)


def _row(kind: Any, mesh: Mesh, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, kind, sharding=sharding_of_rows(shape, mesh))


def _batch(rows: int, mesh: Mesh) -> Batch:
    tokens = functools.partial(_row, jnp.int32, mesh, rows, _LENGTH)
    return Batch(tokens(), tokens(), tokens(), tokens(), _row(jnp.float32, mesh, 2, rows, _LENGTH))


def _square(mesh: Mesh, layers: int, size: int) -> jax.ShapeDtypeStruct:
    columns = NamedSharding(mesh, PartitionSpec(None, None, "model"))
    return jax.ShapeDtypeStruct((layers, size, size), jnp.float32, sharding=columns)


def _backward(params: Shapes, config: ModelConfig, mesh: Mesh) -> Any:
    """Returns the program that adds the sums of a batch."""
    rows = BATCH_TOKENS // _LENGTH * mesh.shape["data"]
    total = jax.eval_shape(lambda flat: zero_sums(flat, GRADIENT + FACTORS), kernels(params))
    columns, whole = NamedSharding(mesh, PartitionSpec(None, None, "model")), NamedSharding(mesh, PartitionSpec())
    sums = {
        "gradient": {path: _spread(leaf, sharding_of(path, leaf.shape, mesh)) for path, leaf in total["gradient"].items()},
        "inputs": {site: _spread(leaf, columns) for site, leaf in total["inputs"].items()},
        "outputs": {path: _like(leaf, whole) for path, leaf in total["outputs"].items()},
    }
    batch, share = _batch(rows, mesh), _row(jnp.float32, mesh, rows, _LENGTH)
    return fisher._with_batch.trace(sums, params, batch, share, Decoder(config, outer_sums), _ANSWER_TOKENS, mesh)


def _like(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _spread(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return _like(leaf, spread_over_data(sharding, leaf.shape))


def _solved(kernel: jax.ShapeDtypeStruct, path: str, mesh: Mesh) -> Any:
    """Returns the program that finds one persona's masks of a kernel by ``sparsegpt``."""
    layers, inputs, _ = kernel.shape
    split = _like(kernel, sharding_by_output(kernel.shape, mesh, split_by_inputs="down_proj" in path))
    keep = jax.ShapeDtypeStruct((layers,), jnp.int32)
    return sparsegpt_kernel.solve_kernel.trace(split, _square(mesh, layers, inputs), keep, 0.01)


def _choice(kernel: jax.ShapeDtypeStruct, path: str, mesh: Mesh) -> Any:
    layers, inputs, outputs = kernel.shape
    split = sharding_by_output(kernel.shape, mesh, split_by_inputs="down_proj" in path)
    gradients = [jax.ShapeDtypeStruct(kernel.shape, jnp.bfloat16, sharding=split)] * 2
    squared = jax.ShapeDtypeStruct((layers, outputs), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))
    eligible = jax.ShapeDtypeStruct((layers,), bool)
    moments = _square(mesh, layers, inputs)
    problem = (_like(kernel, split), gradients, _spread(moments, moments.sharding), squared, eligible)
    return taylor_masks._kept.trace(mesh, problem, 0.9, 2000.0)


def _banked(path: str, kernel: jax.ShapeDtypeStruct, mesh: Mesh) -> jax.ShapeDtypeStruct:
    """Returns the shape of a kernel's bank (``inference.mask_bank.full_bank``)."""
    layers, inputs, outputs = kernel.shape
    shape = (layers, _PERSONAS + 1, word_rows(inputs), outputs)
    return jax.ShapeDtypeStruct(shape, jnp.uint16, sharding=sharding_of_words(path, shape, mesh))


def mesh_for(topology: str, data: int, model: int) -> Mesh:
    """Returns a mesh over the chips of a TPU topology that need not be there; the two cores of a v4 chip count as one device."""
    as_one = {"chip_config_name": "megacore"} if topology.startswith("v4") else {}
    chips = topologies.get_topology_desc(platform="tpu", topology_name=topology, **as_one).devices
    devices = mesh_utils.create_device_mesh((data, model), chips, allow_split_physical_axes=True)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def account(program: Callable[[], Any], mesh: Mesh) -> dict[str, Any]:
    """Compiles a program; returns XLA's account of a chip's memory, its share of operations, and the time these need at least."""
    try:
        traced = program()
        counted = operations(traced.jaxpr.jaxpr) / mesh.size if hasattr(traced, "jaxpr") else 0.0
        compiled = (traced.lower() if hasattr(traced, "jaxpr") else traced).compile()
    except Exception as error:  # whatever the compiler says is the result
        return {"refused": " ".join(str(error).split())[:300]}
    memory, peak = compiled.memory_analysis(), peak_of(mesh.devices.flat[0].device_kind)
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    seconds = max(counted / peak.flops, held / peak.bytes)
    return {"held": held, "temporary": memory.temp_size_in_bytes, "operations": counted, "seconds": seconds}


def operations(jaxpr: Any) -> float:
    """Counts operations of matrix products, loops as often as they run; XLA's ``cost_analysis`` counts a loop's body once.

    Of branches (one for each platform) the largest counts.
    """
    return float(sum(_operations(eqn) for eqn in jaxpr.eqns))


def _operations(eqn: Any) -> float:
    params, name = eqn.params, eqn.primitive.name
    if name == "dot_general":
        inputs = eqn.invars[0].aval.shape
        return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(inputs[axis] for axis in params["dimension_numbers"][0][0])
    inner = [operations(part) for part in jaxprs_in_params(params)]
    if name == "cond":
        return max(inner)
    times = params["length"] if name == "scan" else math.prod(params["grid_mapping"].grid) if name == "pallas_call" else 1
    if name == "shard_map":
        times = math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    return times * sum(inner)


def planned_bytes(program: str, config: ModelConfig, data: int, model: int) -> float | None:
    """Returns the plan's peak of a chip for the whole method that a program belongs to; None if it belongs to none."""
    method, _, _ = program.partition(":")
    if method not in _METHODS:
        return None
    texts = Texts(128, None, _BATCHES, _ROWS * data, _LENGTH)
    return Plan(config, by_name(method), texts, Devices("", None, data, model), 2, 2048, False).peak_bytes


def plans() -> None:
    """Prints, for each model and method, the mesh of each slice with the smallest ``model`` that fits, and a chip's peak."""
    print("| model | method | " + " | ".join(SLICES) + " |")
    print("|---" * (2 + len(SLICES)) + "|")
    for name, method in itertools.product(MODELS, _METHODS):
        config, cells = ModelConfig.from_hf(MODELS[name]), []
        for chips, memory in SLICES.values():
            meshes = [(chips // model, model) for model in range(1, chips + 1) if chips % model == 0]
            peaks = {f"{data}x{model}": planned_bytes(method, config, data, model) or 0 for data, model in meshes}
            fitting = next((mesh for mesh, peak in peaks.items() if peak <= memory), None)
            smallest = min(peaks, key=lambda mesh: peaks[mesh])
            cells.append(f"{fitting}: {peaks[fitting] / 1e9:.1f} GB" if fitting else f"**none**: {peaks[smallest] / 1e9:.1f} GB")
        print(f"| {name} | {method} | " + " | ".join(cells) + " |")


def table(path: str) -> None:
    """Prints the lines of a file as a table of Markdown; a later line of a program and slice replaces an earlier one."""
    lines = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.startswith("{")]
    cells = {(line["model"], line["program"], line["chips"]): _cell(line) for line in lines}
    slices = sorted({chips for _, _, chips in cells})
    print("| " + " | ".join(["model", "program", *slices]) + " |")
    print("|---" * (2 + len(slices)) + "|")
    for row in sorted({key[:2] for key in cells}):
        print("| " + " | ".join([*row, *(cells.get((*row, chips), "") for chips in slices)]) + " |")


def _cell(line: dict[str, Any]) -> str:
    if "refused" in line:
        return f"{line['mesh']}: **refused**: {line['refused'][:100]}"
    memory = " + ".join(f"{line[name] / 1e9:.1f}" for name in ("held", "temporary"))
    plan = f" (plan {line['plan'] / 1e9:.1f})" if line["plan"] else ""
    counted = f"{line['operations'] / 1e12:.3g} TFLOP, " if line["operations"] else ""
    return f"{line['mesh']}: {memory} GB{plan}, {counted}{1e3 * line['seconds']:.3g} ms"


def main(topology: str, shape: str, name: str, *only: str) -> None:
    """Prints the account of every program whose name begins with one of ``only``, or of all."""
    os.environ.update(AS_IF_ON_TPU)
    mesh, config = mesh_for(topology, *map(int, shape.split("x"))), ModelConfig.from_hf(MODELS[name])
    for program, trace in programs_of(config, mesh):
        if not only or program.startswith(only):
            about = {"model": name, "chips": topology, "mesh": shape, "program": program}
            plan = {"plan": planned_bytes(program, config, *mesh.shape.values())}
            print(json.dumps({**about, **plan, **account(trace, mesh)}), flush=True)


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    {"table": table, "plans": plans}.get(first, functools.partial(main, first))(*rest)
