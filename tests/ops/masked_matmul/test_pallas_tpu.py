"""The TPU kernel, interpreted, lowered, and compiled ahead of time; no TPU is needed."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pltpu
from ops.masked_matmul.conftest import TOLERANCE, make_case

from jaxpersona.ops import bitpack
from jaxpersona.ops.masked_matmul import masked_matmul, pallas_tpu
from jaxpersona.ops.masked_matmul.block_sizes import Blocks

POISONED = pltpu.InterpretParams(out_of_bounds_reads="uninitialized", uninitialized_memory="nan")
SMALL = Blocks(rows=16, inputs=256, outputs=128)


@settings(deadline=None, max_examples=6)
@given(
    rows=st.sampled_from([1, 15, 33]),
    inputs=st.sampled_from([1, 255, 256, 300, 513]),
    outputs=st.sampled_from([1, 128, 150]),
    personas=st.integers(1, 3),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
    soft=st.booleans(),
    interpret=st.sampled_from([True, POISONED]),
    seed=st.integers(0, 99),
)
def test_interpreted_kernel_equals_float64_and_reads_nothing_out_of_bounds(
    rows, inputs, outputs, personas, dtype, soft, interpret, seed
):
    case = make_case(rows, inputs, outputs, personas, dtype, soft, seed, outside=True)
    found = pallas_tpu.multiply(*case.operands, SMALL, interpret)
    assert found.dtype == dtype
    assert case.error(found) < TOLERANCE[case.x.dtype]


def test_blocks_longer_than_the_words_are_cut_to_them(check):
    case = make_case(4, 600, 40, 2, jnp.bfloat16)
    check(pallas_tpu.multiply(*case.operands, Blocks(inputs=512, outputs=128), POISONED), case)
    check(pallas_tpu.multiply(*case.operands, Blocks(inputs=2048, outputs=128), POISONED), case)


def test_a_weight_that_one_persona_keeps_as_nan_stays_out_of_the_others_rows():
    case = make_case(6, 40, 8, 2)
    ids = jnp.array([0, 1, 0, 1, 1, 0])
    broken = jnp.where(case.kept[0] & ~case.kept[1], jnp.nan, jnp.nan_to_num(case.w, posinf=0.0, neginf=0.0))
    found = pallas_tpu.multiply(case.x, broken, case.words, ids, None, SMALL, True)
    assert jnp.isfinite(found[ids == 1]).all()
    assert jnp.isnan(found[ids == 0]).any()


def test_a_row_has_the_same_bits_whatever_the_other_rows_are():
    case = make_case(16, 300, 130, 3, jnp.bfloat16, soft=True)
    found = pallas_tpu.multiply(*case.operands, SMALL, True)
    others = case.ids.at[1:].set(jnp.roll(case.ids, 3)[1:])
    changed = pallas_tpu.multiply(case.x.at[1:].add(1), case.w, case.words, others, case.gamma, SMALL, True)
    assert (found[0] == changed[0]).all()
    assert not (found[1] == changed[1]).all()


SHAPES = [
    (16, 4096, 4096, 8, jnp.bfloat16, False),
    (16, 576, 1536, 5, jnp.bfloat16, True),
    (3, 300, 100, 2, jnp.float32, True),
    (300, 301, 100, 2, jnp.bfloat16, True),
    (1, 1, 1, 1, jnp.bfloat16, False),
]


def shapes_of(rows, inputs, outputs, personas, dtype, soft):
    """Returns abstract operands of ``masked_matmul``."""
    x, w = jax.ShapeDtypeStruct((rows, inputs), dtype), jax.ShapeDtypeStruct((inputs, outputs), dtype)
    words = jax.ShapeDtypeStruct((personas, bitpack.word_rows(inputs), outputs), jnp.uint16)
    by_row = jax.ShapeDtypeStruct((rows,), jnp.int32), jax.ShapeDtypeStruct((rows,), jnp.float32)
    return x, w, words, *by_row[: 1 + soft]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("implementation", ["auto", "tpu"])
def test_kernel_lowers_for_tpu(shape, implementation):
    product = jax.jit(lambda *operands: masked_matmul(*operands, implementation=implementation))
    module = jax.export.export(product, platforms=["tpu"])(*shapes_of(*shape)).mlir_module()
    assert "tpu_custom_call" in module


def test_old_tpus_refuse_bfloat16(monkeypatch):
    case = make_case(1, 4, 4, 1, jnp.bfloat16)
    monkeypatch.setattr(jax, "devices", lambda: [type("Device", (), {"device_kind": "TPU v3", "platform": "tpu"})])
    assert pallas_tpu.refusal(case.x, case.w) == "TPU v3 has no bfloat16 product for kernels"
    assert pallas_tpu.refusal(case.x.astype(jnp.float32), case.w) is None


COMPILE = """
import sys
import jax, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ops.masked_matmul.test_pallas_tpu import SHAPES, shapes_of
from jaxpersona.ops.masked_matmul import masked_matmul
import jax.numpy as jnp

topology = topologies.get_topology_desc(platform="tpu", topology_name=sys.argv[1])
place = NamedSharding(Mesh(np.array(topology.devices[:1]), ("x",)), PartitionSpec())
llama = [(rows, *shape, 8, jnp.bfloat16, True) for rows in (16, 2048) for shape in ((4096, 14336), (14336, 4096))]
for shape in [*SHAPES, *llama]:
    operands = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place) for leaf in shapes_of(*shape)]
    assert "tpu_custom_call" in jax.jit(masked_matmul).lower(*operands).compile().as_text(), shape
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu (640 MB) is not installed")
@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x2", "v6e:2x2"])
def test_kernel_compiles_for_tpu(topology):
    """A kernel that needs more VMEM than a TPU has fails here."""
    as_if_on_one = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost"}
    environment = {**os.environ, **as_if_on_one, "TPU_WORKER_ID": "0", "JAX_PLATFORMS": "cpu"}
    paths = [str(pathlib.Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run([sys.executable, "-c", COMPILE, topology], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
