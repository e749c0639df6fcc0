"""The XLA implementation agrees with float64, on both of its paths."""

import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.masked_matmul.conftest import TOLERANCE, make_case

from jaxpersona.ops.masked_matmul import xla


@settings(deadline=None, max_examples=10)
@given(
    rows=st.sampled_from([1, 2, 7]),
    inputs=st.sampled_from([1, 16, 100, 257]),
    outputs=st.sampled_from([1, 5, 33]),
    personas=st.integers(1, 4),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
    soft=st.booleans(),
    seed=st.integers(0, 99),
)
def test_product_is_that_of_each_rows_own_weights(rows, inputs, outputs, personas, dtype, soft, seed):
    case = make_case(rows, inputs, outputs, personas, dtype, soft, seed, outside=True)
    found = xla.multiply(case.x[:, None], *case.operands[1:])[:, 0]
    assert found.dtype == dtype
    assert case.error(found) < TOLERANCE[case.x.dtype]


@pytest.mark.parametrize("personas", [2, 9])
def test_a_weight_that_one_persona_keeps_as_nan_stays_out_of_the_others_rows(personas):
    case = make_case(6, 40, 8, personas)
    ids = jnp.array([0, 1, 0, 1, 1, 0])
    broken = jnp.where(case.kept[0] & ~case.kept[1], jnp.nan, jnp.nan_to_num(case.w, posinf=0.0, neginf=0.0))
    found = xla.multiply(case.x[:, None], broken, case.words, ids, None)[:, 0]
    assert jnp.isfinite(found[ids == 1]).all()
    assert jnp.isnan(found[ids == 0]).any()
