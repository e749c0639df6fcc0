"""Splits of sets that have none of their own, the same in every run, and draws of texts of all lengths."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
_TENTHS = {"train": 6, "validation": 1, "test": 3}
SPLITS = tuple(_TENTHS)
_SEED = 42  # fixed, so that every run has the same splits


def split_indices(split: str, count: int) -> list[int]:
    """Returns the indices, in order, of a split of ``count`` items: train (60 %), validation (10 %) or test (30 %)."""
    order = np.random.default_rng(_SEED).permutation(count)
    ends = np.cumsum([round(tenths / 10 * count) for tenths in _TENTHS.values()])
    number = SPLITS.index(split)
    start, end = ends[number - 1] if number else 0, ends[number] if number < len(ends) - 1 else count
    return sorted(order[start:end].tolist())


def split_of(text: str) -> str:
    """Returns the split of a text: train (60 %), validation (10 %) or test (30 %).

    Its SHA-256 decides, so that equal texts share a split, and splits stay if a set grows.

    >>> split_of("Why work?")
    'train'
    """
    tenth = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10
    return next(split for split, end in zip(SPLITS, itertools.accumulate(_TENTHS.values()), strict=True) if tenth < end)


def spread(items: Sequence[Item], count: int, text: Callable[[Item], str]) -> list[Item]:
    """Returns ``count`` items in the order of their texts' lengths, evenly drawn from all lengths."""
    by_length = sorted(items, key=lambda item: (len(text(item)), text(item)))
    return [by_length[i] for i in np.linspace(0, len(by_length) - 1, count).round().astype(int)] if count else []
