"""Rotary embeddings have the frequencies of each kind, and their products depend only on distances."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.models import rope
from jaxpersona.models.config import Rope


def test_rope_frequencies_of_each_kind():
    plain = np.array([10000.0 ** (-2 * plane / 16) for plane in range(8)])
    np.testing.assert_allclose(rope.rope_frequencies(Rope(), 16), plain, rtol=1e-6)
    np.testing.assert_allclose(rope.rope_frequencies(Rope(kind="linear", factor=4.0), 16), plain / 4, rtol=1e-6)
    factors = np.arange(1.0, 9.0)
    by_factors = Rope(kind="frequency_factors", frequency_factors=tuple(factors))
    np.testing.assert_allclose(rope.rope_frequencies(by_factors, 16), plain / factors, rtol=1e-6)

    expected = []
    for frequency in plain:
        wavelength = 2 * np.pi / frequency
        if wavelength < 32 / 4:
            expected.append(frequency)
        elif wavelength > 32 / 1:
            expected.append(frequency / 8)
        else:
            smooth = (32 / wavelength - 1) / (4 - 1)
            expected.append((1 - smooth) * frequency / 8 + smooth * frequency)
    llama3 = Rope(kind="llama3", factor=8.0, original_max_position=32)
    np.testing.assert_allclose(rope.rope_frequencies(llama3, 16), expected, rtol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_rotated_products_depend_only_on_the_distance(first, second, shift):
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def product(position, other):
        tables = [rope.rope_tables(Rope(100.0), 8, jnp.array([[p]])) for p in (position, other)]
        return jnp.vdot(rope.rotate(q, tables[0]), rope.rotate(k, tables[1]))

    np.testing.assert_allclose(product(first + shift, second + shift), product(first, second), rtol=0, atol=1e-4)


def test_each_plane_turns_by_its_frequency_times_the_position():
    x, position = np.random.default_rng(0).normal(size=8), 5
    tables = rope.rope_tables(Rope(100.0), 8, jnp.array([[position]]))
    found = rope.rotate(jnp.asarray(x, jnp.float32).reshape(1, 1, 1, 8), tables)
    angles = position * rope.rope_frequencies(Rope(100.0), 8)
    turned = (x[:4] + 1j * x[4:]) * np.exp(1j * angles)
    np.testing.assert_allclose(np.ravel(found), [*turned.real, *turned.imag], rtol=1e-5, atol=1e-6)
