"""Flattens nested dictionaries to paths such as ``layers/mlp/up_proj/kernel``, which name parameters and masks everywhere."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util

Params = Mapping[str, Any]
"""A parameter tree: nested dictionaries of arrays; kernels are [layer, in, out]."""


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves by path, in the tree's order.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    return dict(flax.traverse_util.flatten_dict(tree, sep="/"))


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Inverts ``flatten``."""
    return flax.traverse_util.unflatten_dict(dict(leaves), sep="/")
