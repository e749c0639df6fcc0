"""The factor of an inverse by one loop is that of the library."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.ops.inverse_factor import by_elimination, inverse_factor


def test_elimination_gives_the_factor_of_the_inverse():
    x = np.random.default_rng(0).standard_normal((600, 300)).astype(np.float32)
    matrix = x.T @ x / 600
    found, expected = jax.jit(by_elimination)(matrix), inverse_factor(matrix)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.T @ found @ matrix, np.eye(300), atol=1e-4)
    assert not np.tril(found, -1).any()
    assert jnp.isnan(jax.jit(by_elimination)(-matrix)).any()


def test_a_tpu_gets_one_loop():
    lowered = jax.jit(inverse_factor).trace(jax.ShapeDtypeStruct((4096, 4096), jnp.float32)).lower(lowering_platforms=("tpu",))
    assert lowered.as_text().count("stablehlo.cholesky") == 1
    assert "tensor<128x128xf32>" in lowered.as_text()
