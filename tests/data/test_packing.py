"""Packing holds every token of every pair once, at its position and with its weights, in batches of one shape."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.data.packing import (
    MATCHING,
    NOT_MATCHING,
    PREFIX,
    SHARED,
    Batch,
    choose_row_length,
    pack,
    shared_prefix_length,
)
from jaxpersona.data.text import TokenizedPair

BOS = 0
tokens = st.integers(1, 99)


@st.composite
def tokenized_pairs(draw):
    """Draws pairs with and without BOS, and with empty parts."""
    prefix, matching, not_matching = (draw(st.lists(tokens, max_size=size)) for size in (40, 20, 30))
    if draw(st.booleans()):
        if prefix:
            prefix[0] = BOS
        else:
            matching, not_matching = [BOS, *matching], [BOS, *not_matching]
    return TokenizedPair(tuple(prefix), tuple(matching), tuple(not_matching), len(prefix), truncated=False)


packings = st.fixed_dictionaries(
    {"row_length": st.integers(1, 300), "batch_tokens": st.integers(1, 2000), "row_multiple": st.integers(1, 5)}
)
some_pairs = st.lists(tokenized_pairs(), min_size=1, max_size=12).filter(lambda pairs: any(map(len, pairs)))


def simple(*lengths):
    """Returns pairs of given lengths, each with an answer of one token beside a longer one."""
    return [TokenizedPair((), (5,), (6,) * (length - 1), 0, truncated=False) for length in lengths]


def expected_cells(pairs, bos):
    """Returns (token, position, weight of the persona, weight of its opposite) of every token in order, by pair and branch."""
    cells = {}
    for index, pair in enumerate(pairs):
        for branch, part in ((PREFIX, pair.prefix), (MATCHING, pair.matching), (NOT_MATCHING, pair.not_matching)):
            start = 0 if branch == PREFIX else len(pair.prefix)
            for position, token in enumerate(part, start):
                counts = position > 0 or token != bos
                weights = (float(counts and branch != NOT_MATCHING), float(counts and branch != MATCHING))
                cells.setdefault((index, branch), []).append((token, position, *weights))
    return cells


def found_cells(batches):
    cells = {}
    for batch in batches:
        for row, column in np.argwhere(batch.pair >= 0):
            at = row, column
            cell = (int(batch.tokens[at]), int(batch.positions[at]), *map(float, batch.weights[:, row, column]))
            cells.setdefault((int(batch.pair[at]), int(batch.branch[at])), []).append(cell)
    return cells


@settings(deadline=None, max_examples=80)
@given(pairs=some_pairs, options=packings)
def test_every_token_appears_once_with_its_position_branch_and_weights(pairs, options):
    assert found_cells(pack(pairs, BOS, **options)) == expected_cells(pairs, BOS)


@settings(deadline=None, max_examples=80)
@given(pairs=some_pairs, begin=st.lists(tokens, max_size=9), with_bos=st.booleans(), options=packings)
def test_an_opening_appears_once_a_row_and_counts_for_every_pair_in_it(pairs, begin, with_bos, options):
    begin = (*[BOS] * with_bos, *begin)
    whole = []
    for pair in pairs:
        prefix = begin + pair.prefix
        whole.append(TokenizedPair(prefix, (*pair.matching, 6), pair.not_matching, len(prefix), truncated=False))
    opening = shared_prefix_length(whole)
    assert opening >= len(begin)
    batches, expected = pack(whole, BOS, shared_prefix=opening, **options), expected_cells(whole, BOS)
    first = expected.get((0, PREFIX), [])[:opening]
    for index in range(len(whole)):
        cells = expected.pop((index, PREFIX), [])
        assert cells[:opening] == first
        expected |= {(index, PREFIX): cells[opening:]} if cells[opening:] else {}
    assert found_cells(batches) == expected
    for batch in batches:
        for row, pair in enumerate(batch.pair):
            sharing = len(set(pair[pair >= 0]))
            found = np.stack([batch.tokens[row], batch.positions[row], *batch.weights[:, row]])[:, pair == SHARED]
            assert found.T.tolist() == [[token, at, sharing * own, sharing * other] for token, at, own, other in first if sharing]


@settings(deadline=None, max_examples=40)
@given(pairs=some_pairs, options=packings)
def test_without_a_bos_token_every_token_counts(pairs, options):
    assert found_cells(pack(pairs, None, **options)) == expected_cells(pairs, None)


@settings(deadline=None, max_examples=80)
@given(pairs=some_pairs, options=packings)
def test_batches_have_one_shape_and_no_waste(pairs, options):
    batches = pack(pairs, BOS, **options)
    height, length = batches[0].tokens.shape
    for batch in batches:
        assert batch.tokens.shape == batch.positions.shape == batch.pair.shape == batch.branch.shape == (height, length)
        assert batch.weights.shape == (2, height, length)
        assert (batch.pair >= 0).any()
        assert all(part.dtype == np.int32 for part in (batch.tokens, batch.positions, batch.pair, batch.branch))
        assert batch.weights.dtype == np.float32
    assert height % options["row_multiple"] == 0
    assert height * length <= max(options["batch_tokens"], options["row_multiple"] * length)
    assert length % 64 == 0
    longest, total = max(map(len, pairs)), sum(map(len, pairs))
    assert max(longest, min(options["row_length"], total)) <= length < max(longest, options["row_length"]) + 64
    if len(batches) == 1:
        assert (batches[0].pair.max(axis=1) < 0).sum() < options["row_multiple"]


@settings(deadline=None, max_examples=40)
@given(pairs=some_pairs, options=packings)
def test_a_pair_lies_in_one_row_without_gaps(pairs, options):
    places = {}
    for number, batch in enumerate(pack(pairs, BOS, **options)):
        for row, column in np.argwhere(batch.pair >= 0):
            places.setdefault(int(batch.pair[row, column]), []).append((number, row, column, batch.branch[row, column]))
    for cells in places.values():
        assert len({cell[:2] for cell in cells}) == 1
        assert np.ptp([cell[2] for cell in cells]) == len(cells) - 1
        assert [cell[3] for cell in cells] == sorted(cell[3] for cell in cells)


def test_padding_never_counts_and_shows_nothing():
    (batch,) = pack([TokenizedPair((7, 8), (9,), (10,), 2, truncated=False)], BOS)
    assert batch.tokens.shape == (1, 64)
    assert not batch.weights[:, :, 4:].any()
    assert not batch.tokens[:, 4:].any()
    assert (batch.pair[:, 4:] == -1).all()
    visible = np.asarray(batch.visible())
    assert not visible[:, 4:].any() and not visible[:, :, 4:].any()


@pytest.mark.parametrize("prefix", [(BOS, 4, 5), ()])
def test_bos_never_counts_but_the_same_token_inside_a_text_does(prefix):
    start = () if prefix else (BOS,)
    (batch,) = pack([TokenizedPair(prefix, (*start, 6, BOS), (*start, BOS, 7), len(prefix), truncated=False)], BOS)
    used = batch.tokens[0, : 7 if prefix else 6], batch.weights[:, 0, : 7 if prefix else 6]
    if prefix:
        np.testing.assert_array_equal(used[0], [BOS, 4, 5, 6, BOS, BOS, 7])
        np.testing.assert_array_equal(used[1], [[0, 1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 1, 1]])
    else:
        np.testing.assert_array_equal(used[0], [BOS, 6, BOS, BOS, BOS, 7])
        np.testing.assert_array_equal(used[1], [[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]])


def test_pair_longer_than_a_row_makes_all_rows_longer():
    batches = pack(simple(10, 300, 20), BOS, row_length=128)
    assert {batch.tokens.shape[1] for batch in batches} == {320}
    assert found_cells(batches) == expected_cells(simple(10, 300, 20), BOS)


def test_few_pairs_make_one_short_row():
    (batch,) = pack(simple(20, 30, 20), BOS, row_length=512, batch_tokens=4096)
    assert batch.tokens.shape == (1, 128)


def test_pairs_that_fill_rows_exactly_leave_no_padding():
    batches = pack(simple(40, 24, 34, 30, 64, 60, 4, 64), BOS, row_length=64, batch_tokens=64 * 5)
    assert len(batches) == 1
    assert (batches[0].pair >= 0).all()


def brute_force_visible(batch):
    rows, length = batch.tokens.shape
    visible = np.zeros((rows, length, length), bool)
    for row in range(rows):
        for query in range(length):
            for key in range(query + 1):
                ours = batch.pair[row, key] == batch.pair[row, query] >= 0
                visible[row, query, key] = ours and batch.branch[row, key] in (PREFIX, batch.branch[row, query])
    return visible


@settings(deadline=None, max_examples=10)
@given(pairs=st.lists(tokenized_pairs(), min_size=1, max_size=4).filter(lambda pairs: any(map(len, pairs))))
def test_visible_is_earlier_tokens_of_the_own_text(pairs):
    for batch in pack(pairs, BOS, row_length=64, batch_tokens=64):
        np.testing.assert_array_equal(batch.visible(), brute_force_visible(batch))


@settings(deadline=None, max_examples=10)
@given(pairs=st.lists(tokenized_pairs(), min_size=1, max_size=4).filter(lambda pairs: any(map(len, pairs))))
def test_previous_is_the_token_before_in_the_same_text(pairs):
    for batch in pack(pairs, BOS, row_length=64, batch_tokens=64):
        expected = np.zeros_like(batch.tokens)
        for row, column in np.argwhere((batch.pair >= 0) & (batch.positions > 0)):
            pair, position = pairs[batch.pair[row, column]], batch.positions[row, column]
            own_start = column - (position - len(pair.prefix))  # of the answer the token is in
            first_of_answer = batch.branch[row, column] != PREFIX and column == own_start
            skipped = len(pair.matching) if batch.branch[row, column] == NOT_MATCHING else 0
            expected[row, column] = column - 1 - (skipped if first_of_answer else 0)
        np.testing.assert_array_equal(batch.previous(), expected)


def test_visible_tokens_read_in_order_are_the_whole_text():
    pairs = [TokenizedPair((BOS, 3), (4, 5), (6,), 2, truncated=False), TokenizedPair((), (7, 8), (9,), 0, truncated=False)]
    (batch,) = pack(pairs, BOS)
    seen = {tuple(batch.tokens[0][row].tolist()) for row in np.asarray(batch.visible())[0] if row.any()}
    assert seen == {(BOS,), (BOS, 3), (BOS, 3, 4), (BOS, 3, 4, 5), (BOS, 3, 6), (7,), (7, 8), (9,)}


def test_batch_is_a_pytree():
    import jax

    (batch,) = pack(simple(10), BOS)
    doubled = jax.tree.map(lambda leaf: leaf * 2, batch)
    assert isinstance(doubled, Batch)
    assert len(jax.tree.leaves(batch)) == len(dataclasses.fields(Batch))
    np.testing.assert_array_equal(doubled.tokens, batch.tokens * 2)


def test_rows_stay_long_where_they_may_not_shrink():
    for lengths in ((5,), (100, 90, 3), (70,) * 9):
        assert {batch.tokens.shape for batch in pack(simple(*lengths), BOS, 256, 256, shrink=False)} == {(1, 256)}
    assert pack(simple(300), BOS, 256, 256, shrink=False)[0].tokens.shape == (1, 320)


def test_the_cheapest_row_is_filled_well_and_no_longer_than_it_must_be():
    assert choose_row_length(simple(*[60] * 40)) == 128  # two in each, and the shortest row
    assert choose_row_length(simple(*[100] * 40)) == 320  # three of them fill 94 %, two 78 % of 256
    assert choose_row_length(simple(*[190] * 40)) == 192
    assert choose_row_length(simple(400, 20, 20)) == 400


def test_few_more_tokens_are_processed_than_there_are():
    """The pairs are as long as those of AI Persona under SmolLM2's tokenizer: about a hundred tokens."""
    rng = np.random.default_rng(0)

    def ids(least, most):
        return tuple(rng.integers(5, 200, rng.integers(least, most)).tolist())

    pairs = [TokenizedPair(ids(30, 80), ids(5, 60), ids(5, 60), 0, False) for _ in range(128)]
    batches = pack(pairs, None, 256)
    needed, processed = sum(map(len, pairs)), sum(batch.tokens.size for batch in batches)
    separate = sum(2 * len(pair.prefix) + len(pair.matching) + len(pair.not_matching) for pair in pairs)
    assert processed <= 1.1 * needed < 0.9 * separate
    assert len(batches) <= -(-processed // 4096) + 3
