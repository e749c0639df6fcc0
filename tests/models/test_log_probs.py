"""Log-probabilities of packed tokens are those of each text alone, in NumPy on the model's logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.data.packing import MATCHING, NOT_MATCHING, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models import log_probs
from jaxpersona.models.log_probs import most_marked, places_of, token_log_probs

PAIRS = [
    TokenizedPair((0, 40, 41, 42), (60, 61, 62), (70, 71), 4, False),
    TokenizedPair((0, 50), (80,), (90, 91, 92, 93, 94), 2, False),
]


@pytest.fixture(scope="module")
def batch():
    (packed,) = pack(PAIRS, 0, 32)
    return packed


@pytest.fixture(scope="module")
def found(tiny_model, batch):
    return jax.jit(token_log_probs, static_argnums=0)(tiny_model.decoder, tiny_model.params, batch)


def alone(model, ids):
    """Returns the log-probability of each token after the first, for one text alone, float64."""
    logits = np.asarray(model.apply({"params": model.params}, np.array([ids])), np.float64)[0, :-1]
    logits -= logits.max(axis=1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[np.arange(len(ids) - 1), ids[1:]]


def test_packed_tokens_have_the_log_probabilities_of_their_text_alone(tiny_model, batch, found):
    for number, pair in enumerate(PAIRS):
        for branch, answer in ((MATCHING, pair.matching), (NOT_MATCHING, pair.not_matching)):
            expected = alone(tiny_model, [*pair.prefix, *answer])
            (row, columns) = np.nonzero((np.asarray(batch.pair) == number) & (np.asarray(batch.branch) == branch))
            np.testing.assert_allclose(found[row, columns], expected[-len(answer) :], rtol=1e-4)
        (row, columns) = np.nonzero((np.asarray(batch.pair) == number) & ~np.isin(batch.branch, (MATCHING, NOT_MATCHING)))
        np.testing.assert_allclose(found[row, columns][1:], expected[: len(pair.prefix) - 1], rtol=1e-4)


def test_places_pick_the_tokens_to_evaluate(tiny_model, batch, found):
    marked = jnp.asarray(batch.branch) == MATCHING
    places = places_of(marked, int(marked.sum(axis=1).max()))
    picked = token_log_probs(tiny_model.decoder, tiny_model.params, batch, places)
    np.testing.assert_allclose(picked, np.take_along_axis(np.asarray(found), np.asarray(places), axis=1), rtol=1e-5)


def test_parts_of_a_row_give_the_same(tiny_model, batch, found, monkeypatch):
    monkeypatch.setattr(log_probs, "_MOST_LOGITS", 10 * tiny_model.config.vocab_size)  # 8 of 32 positions at once
    assert log_probs._length_of_part(32, tiny_model.config.vocab_size) == 8
    np.testing.assert_allclose(token_log_probs(tiny_model.decoder, tiny_model.params, batch), found, rtol=1e-5)


@pytest.mark.parametrize(
    ("width", "most", "expected"), [(8, 3, 8), (100, 0, 32), (100, 3, 32), (100, 32, 32), (100, 33, 64), (100, 97, 100)]
)
def test_most_marked_tokens_of_a_row_are_rounded_up_within_the_row(width, most, expected):
    marks = [np.arange(width) < np.array([[0], [most]]), np.zeros((2, width), bool)]
    assert most_marked(marks) == expected


def test_places_start_with_the_marked_tokens_in_order():
    marked = jnp.array([[False, True, False, True], [True, True, True, False]])
    np.testing.assert_array_equal(places_of(marked, 3), [[1, 3, 0], [0, 1, 2]])


def test_log_probabilities_are_differentiable(tiny_model, batch):
    inside = (np.asarray(batch.positions) > 0) & (np.asarray(batch.pair) >= 0)

    @jax.jit
    def total(params):
        return jnp.where(inside, token_log_probs(tiny_model.decoder, params, batch), 0).sum() / inside.sum()

    gradient = jax.grad(total)(tiny_model.params)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)
    size = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    step = 1e-2 / size
    up, down = (jax.tree.map(lambda w, g, sign=sign: w + sign * step * g, tiny_model.params, gradient) for sign in (1, -1))
    assert float(total(up) - total(down)) / (2 * step) == pytest.approx(size**2, rel=2e-2)
