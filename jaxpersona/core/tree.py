"""Nested dictionaries by path, the form in which parameters, masks and tables name a kernel: ``layers/mlp/up_proj/kernel``."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by path, in the tree's order.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    return dict(flax.traverse_util.flatten_dict(tree, sep="/"))


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionary that ``flatten`` made ``leaves`` from."""
    return flax.traverse_util.unflatten_dict(dict(leaves), sep="/")
