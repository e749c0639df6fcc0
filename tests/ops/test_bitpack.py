"""Packed masks have one bit per weight, in the documented layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.ops import bitpack


def packed_by_hand(mask):
    """Packs by definition: bit b of word ``block * 16 + j`` is input ``block * 256 + b * 16 + j``."""
    rows, columns = mask.shape
    words = np.zeros((-(-rows // 256) * 16, columns), np.uint16)
    for row in range(rows):
        block, within = divmod(row, 256)
        bit, lane = divmod(within, 16)
        words[block * 16 + lane] |= mask[row].astype(np.uint16) << np.uint16(bit)
    return words


@settings(deadline=None, max_examples=12)
@given(
    rows=st.sampled_from([1, 15, 16, 17, 100, 255, 256, 257, 576]),
    lead=st.sampled_from([(), (2,)]),
    seed=st.integers(0, 99),
)
def test_unpack_inverts_pack_and_words_have_the_documented_layout(rows, lead, seed):
    mask = np.random.default_rng(seed).random((*lead, rows, 3)) < 0.5
    words = bitpack.pack(jnp.asarray(mask))
    assert words.dtype == jnp.uint16
    assert words.shape == (*lead, bitpack.word_rows(rows), 3)
    expected = np.stack([packed_by_hand(part) for part in mask]) if lead else packed_by_hand(mask)
    np.testing.assert_array_equal(words, expected)
    np.testing.assert_array_equal(bitpack.unpack(words, rows), mask)


def test_bits_past_the_last_input_are_zero():
    words = bitpack.pack(jnp.ones((300, 2), bool))
    assert int(jax.lax.population_count(words).sum(dtype=jnp.int32)) == 2 * 300
    everything = np.asarray(bitpack.unpack(words, 512))
    assert everything[:300].all()
    assert not everything[300:].any()


@pytest.mark.parametrize(("rows", "words"), [(1, 16), (256, 16), (257, 32), (512, 32), (576, 48)])
def test_word_rows_come_in_whole_blocks(rows, words):
    assert bitpack.word_rows(rows) == words
