"""Pairs are an immutable sequence; samples are seeded and keep the order; the digest is of the contents alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.data.pairs import Pair, Pairs


def numbered(count, source="here"):
    return Pairs(source, tuple(Pair(f"q{n}", f"a{n}", f"b{n}") for n in range(count)))


def test_pairs_are_a_sequence():
    pairs = numbered(5)
    assert len(pairs) == 5
    assert list(pairs) == list(pairs.items)
    assert pairs[1] == pairs[-4] == Pair("q1", "a1", "b1")
    assert pairs.index(Pair("q3", "a3", "b3")) == 3


def test_slice_is_pairs_of_the_same_source():
    part = numbered(5)[1:4:2]
    assert isinstance(part, Pairs)
    assert part == Pairs("here", (Pair("q1", "a1", "b1"), Pair("q3", "a3", "b3")))


def test_numpy_integer_index_gives_one_pair():
    assert numbered(5)[np.int64(2)] == Pair("q2", "a2", "b2")


def test_index_beyond_the_end_raises():
    with pytest.raises(IndexError):
        numbered(5)[5]


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 40), count=st.integers(0, 45), seed=st.integers(0, 2**31))
def test_sample_is_seeded_without_replacement_and_in_order(size, count, seed):
    pairs = numbered(size)
    sample = pairs.sample(count, seed)
    numbers = [int(pair.prompt[1:]) for pair in sample]
    assert len(sample) == min(count, size)
    assert numbers == sorted(set(numbers))
    assert sample == pairs.sample(count, seed)
    assert sample.source == pairs.source


def test_seeds_draw_different_samples_and_every_pair_is_drawn():
    pairs = numbered(20)
    samples = [pairs.sample(10, seed) for seed in range(20)]
    assert len({sample.digest for sample in samples}) == 20
    assert {pair for sample in samples for pair in sample} == set(pairs)


def test_sample_of_all_or_more_is_everything():
    pairs = numbered(7)
    assert pairs.sample(7, seed=1) == pairs.sample(8, seed=2) == pairs


def test_digest_ignores_the_source():
    assert numbered(4, "one.csv").digest == numbered(4, "two.jsonl").digest


@pytest.mark.parametrize("field", ["prompt", "matching", "not_matching", "system"])
def test_digest_changes_with_every_field(field):
    pairs = numbered(4)
    changed = dataclasses.replace(pairs[2], **{field: "other"})
    assert Pairs("here", (*pairs.items[:2], changed, pairs[3])).digest != pairs.digest


def test_digest_tells_order_length_and_field_boundaries_apart():
    pairs = numbered(4)
    variants = [pairs, pairs[::-1], pairs[:3], Pairs("", (Pair("ab", "c", "d"),)), Pairs("", (Pair("a", "bc", "d"),))]
    assert len({variant.digest for variant in variants}) == len(variants)


def test_digest_is_stable_between_releases():
    digest = Pairs("x", (Pair("Où?", "ja", "nein"),)).digest
    assert digest == "a94a6f052aa409442a702fd3779f4bcd67051b2c3ae7cb8b881b2dc8ef344401"


def test_pairs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        numbered(1)[0].prompt = "other"  # type: ignore[read-only]


def test_swapped_exchanges_the_answers_and_keeps_the_rest():
    pair = Pair("q", "m", "n", "s")
    assert pair.swapped() == Pair("q", "n", "m", "s")
    assert pair.swapped().swapped() == pair == Pair("q", "m", "n", "s")


def test_letter_is_no_part_of_the_contents_and_turns_with_the_answers():
    pair = Pair("q", "a", "b", letter="A")
    assert pair == Pair("q", "a", "b") and Pairs("x", (pair,)).digest == Pairs("x", (Pair("q", "a", "b"),)).digest
    assert pair.swapped().letter == "B" and pair.swapped().swapped().letter == "A"
    assert Pair("q", "a", "b").swapped().letter == ""


def test_digest_of_a_pair_is_of_question_and_answers_whichever_is_the_personas():
    pair = Pair("q", "a", "b")
    assert pair.digest == pair.swapped().digest == Pair(" q", "a ", "b", "system").digest
    others = [Pair("p", "a", "b"), Pair("q", "a", "c"), Pair("q", "ab", ""), Pair("qa", "", "b")]
    assert len({pair.digest, *(other.digest for other in others)}) == 5
    assert len(pair.digest) == 16
