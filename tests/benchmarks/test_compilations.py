"""What is compiled within the block counts, once, and nothing before or after it."""

import jax
import jax.numpy as jnp

from jaxpersona.benchmarks.compilations import Compilations


def test_each_program_counts_once():
    square, x, y = jax.jit(lambda x: x * x), jnp.ones(3), jnp.ones((2, 5))
    with Compilations() as found:
        square(x)
        assert found.count == 1
        square(x)
        assert found.count == 1
        square(y)  # of another shape
    assert found.count == 2
    assert found.seconds > 0


def test_what_is_compiled_outside_does_not_count():
    x = jnp.ones(3)
    with Compilations() as first:
        pass
    jax.jit(lambda x: x + 1)(x).block_until_ready()
    with Compilations() as second:
        jax.jit(lambda x: x + 2)(x).block_until_ready()
    assert (first.count, first.seconds) == (0, 0.0)
    assert second.count == 1
