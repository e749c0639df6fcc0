"""Makes random masked products with their result in float64, and garbage where no persona keeps a weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.ops import bitpack

TOLERANCE = {jnp.dtype("float32"): 1e-6, jnp.dtype("bfloat16"): 4e-3}


class Case(NamedTuple):
    """Operands of a product, and its result in float64."""

    x: jax.Array
    w: jax.Array
    words: jax.Array
    ids: jax.Array
    gamma: jax.Array | None
    kept: np.ndarray
    expected: np.ndarray
    spread: np.ndarray

    @property
    def operands(self):
        return self.x, self.w, self.words, self.ids, self.gamma

    def error(self, found):
        """Returns ``error`` relative to the size of sums of such terms with random signs, or of the result if that is larger.

        Rounding errors depend on the terms, so an output whose terms happen to cancel is as far off as any other.
        """
        return error(found, self.expected, max(np.linalg.norm(self.expected), np.linalg.norm(self.spread)))


def make_case(rows, inputs, outputs, personas, dtype=jnp.float32, soft=False, seed=0, outside=False):
    """Makes a case; without gamma, every weight that no persona keeps is infinite or NaN."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(rows, inputs)), dtype)
    w = jnp.asarray(rng.normal(size=(inputs, outputs)) / np.sqrt(inputs), dtype)
    kept = rng.random((personas, inputs, outputs)) < 0.6
    ids = rng.integers(-1 if outside else 0, personas + outside, rows)
    gamma = rng.random(rows) * (rng.random(rows) < 0.7) if soft else np.zeros(rows)
    wide, bare = np.asarray(x, np.float64), np.asarray(w, np.float64)
    own = [bare * kept[i] if 0 <= i < personas else 0 * bare for i in ids]
    expected = [(1 - g) * (row @ masked) + g * (row @ bare) for row, masked, g in zip(wide, own, gamma, strict=True)]
    spread = [np.sqrt(row**2 @ masked**2) for row, masked in zip(wide, own, strict=True)]
    if not soft:
        w = jnp.where(kept.any(axis=0), w, jnp.where(rng.random(w.shape) < 0.5, jnp.nan, -jnp.inf)).astype(dtype)
    words = bitpack.pack(jnp.asarray(kept))
    softness = jnp.asarray(gamma, jnp.float32) if soft else None
    return Case(x, w, words, jnp.asarray(ids, jnp.int32), softness, kept, np.array(expected), np.array(spread))


def error(found, expected, size=None):
    """Returns the Frobenius norm of the difference, relative to ``size``, by default that of ``expected``."""
    found = np.asarray(found, np.float64)
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected) / max(np.linalg.norm(expected) if size is None else size, 1e-9)


@pytest.fixture
def check():
    """Returns ``check(found, case)``, which asserts equality within the tolerance of the dtype."""

    def equal(found, case):
        assert found.dtype == case.x.dtype
        assert case.error(found) < TOLERANCE[case.x.dtype]

    return equal
