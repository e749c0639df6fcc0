"""Choosing tokens: support sets against NumPy, and frequencies against probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.errors import InputError
from jaxpersona.inference.sampling import Sampling, sample

PROBABILITIES = np.array([0.04, 0.30, 0.10, 0.20, 0.01, 0.35])
LOGITS = np.log(PROBABILITIES).astype(np.float32) + 3
DRAWS = 4000
draw_rows = jax.jit(sample, static_argnums=2)


def draw(sampling, seed=0, logits=LOGITS):
    """``DRAWS`` tokens, each with its own key."""
    rows = jnp.broadcast_to(jnp.asarray(logits), (DRAWS, len(logits)))
    return np.asarray(draw_rows(rows, jax.random.split(jax.random.key(seed), DRAWS), sampling))


def expected_probabilities(sampling):
    """By sorting, cutting and renormalising, one token at a time."""
    warmed = PROBABILITIES ** (1 / sampling.temperature)
    warmed /= warmed.sum()
    kept, reached = [], 0.0
    for token in np.argsort(-warmed):
        if reached >= sampling.top_p or (sampling.top_k and len(kept) == sampling.top_k):
            break
        kept.append(token)
        reached += warmed[token]
    cut = np.zeros_like(warmed)
    cut[kept] = warmed[kept]
    return cut / cut.sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0),
        Sampling(0.5),
        Sampling(2.0, top_k=3),
        Sampling(1.0, top_k=1),
        Sampling(1.0, top_p=0.6),
        Sampling(1.0, top_p=0.01),
        Sampling(1.5, top_k=5, top_p=0.7),
    ],
    ids=str,
)
def test_draws_have_the_support_and_frequencies_of_the_cut_distribution(sampling):
    expected = expected_probabilities(sampling)
    counts = np.bincount(draw(sampling), minlength=6)
    assert (counts[expected == 0] == 0).all()
    wanted = DRAWS * expected[expected > 0]
    assert ((counts[expected > 0] - wanted) ** 2 / wanted).sum() < 25.7  # 1e-4 quantile of chi-square with 5 degrees


def test_zero_temperature_takes_the_likeliest_and_of_equal_ones_the_first():
    logits = jnp.array([[0.0, 5.0, 5.0], [7.0, -1.0, 2.0], [-jnp.inf, -3.0, -2.0]])
    found = sample(logits, jax.random.split(jax.random.key(0), 3), Sampling())
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, [1, 0, 2])


def test_seed_decides_the_draws():
    first = draw(Sampling(1.0), seed=1)
    np.testing.assert_array_equal(first, draw(Sampling(1.0), seed=1))
    assert not np.array_equal(first, draw(Sampling(1.0), seed=2))


def test_a_rows_draw_does_not_depend_on_the_other_rows():
    keys = jax.random.split(jax.random.key(3), 8)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(8, 20)), jnp.float32)
    together = draw_rows(logits, keys, Sampling(1.0, top_k=7, top_p=0.9))
    alone = draw_rows(logits[5:6], keys[5:6], Sampling(1.0, top_k=7, top_p=0.9))
    assert together[5] == alone[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, r"temperature is -0.1; it must be 0 \(greedy\) or above"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": -1}, r"top_k is -1; it must be 0 \(all tokens\) or above"),
        ({"top_p": 0.0}, r"top_p is 0.0; it must lie in \(0, 1\]"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)
