"""The TPU kernel, interpreted and lowered: no TPU is needed, and none was used."""

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
    """Abstract operands of ``masked_matmul``."""
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
