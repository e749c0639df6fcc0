"""Splits part all items, the same in every run; draws have texts of all lengths."""

import collections
import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.data.splits import SPLITS, split_indices, split_of, spread


@settings(deadline=None, max_examples=50)
@given(count=st.integers(0, 300))
def test_every_item_is_in_one_split_and_shares_are_kept(count):
    splits = {split: split_indices(split, count) for split in ("train", "validation", "test")}
    assert sorted(itertools.chain(*splits.values())) == list(range(count))
    assert all(indices == sorted(indices) for indices in splits.values())
    for split, share in {"train": 0.6, "validation": 0.1, "test": 0.3}.items():
        assert abs(len(splits[split]) - share * count) <= 1


def test_splits_do_not_change():
    """Runs of earlier versions were found on these."""
    assert split_indices("validation", 20) == [11, 18]


def test_texts_are_split_in_proportion_each_by_itself():
    counts = collections.Counter(split_of(f"Question {number}?") for number in range(2000))
    for split, share in zip(SPLITS, (0.6, 0.1, 0.3), strict=True):
        assert abs(counts[split] / 2000 - share) < 0.03
    tenths = [int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10 for text in "abcdefghijklmnop"]
    assert [split_of(text) for text in "abcdefghijklmnop"] == [(*6 * ["train"], "validation", *3 * ["test"])[n] for n in tenths]


def test_draws_are_of_all_lengths_from_the_shortest_to_the_longest():
    texts = ["a" * length for length in (9, 1, 5, 7, 3, 2, 8, 6, 4)]
    assert [len(text) for text in spread(texts, 5, str)] == [1, 3, 5, 7, 9]
    assert spread(["b", "a"], 2, str) == ["a", "b"]
    assert spread(texts, 0, str) == []


def test_unknown_splits_are_refused():
    with pytest.raises(ValueError):
        split_indices("tset", 3)
