"""Nested dictionaries are flattened to paths and restored."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.core.tree import flatten, unflatten

keys = st.text("abc_", min_size=1, max_size=3)
trees = st.dictionaries(keys, st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner, min_size=1), max_leaves=8))


def leaves_by_hand(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves_by_hand(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


@settings(deadline=None, max_examples=50)
@given(trees)
def test_flatten_names_every_leaf_by_its_path_in_order_and_unflatten_undoes_it(tree):
    assert list(flatten(tree).items()) == list(leaves_by_hand(tree))
    assert unflatten(flatten(tree)) == tree


def test_unflatten_nests_by_the_slashes():
    assert unflatten({"layers/mlp/kernel": 1, "layers/norm": 2, "head": 3}) == {
        "layers": {"mlp": {"kernel": 1}, "norm": 2},
        "head": 3,
    }
