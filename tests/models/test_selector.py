"""Selectors follow their grammar, and determine budgets."""

import numpy as np
import pytest

from jaxpersona.core.errors import InputError
from jaxpersona.models.selector import Selector, budgets, check_sparsity
from jaxpersona.models.sites import ATTENTION, MLP, MODULES

LAYERS = 6
SHAPES = {f"layers/self_attn/{name}/kernel": (LAYERS, 20, 8) for name in ATTENTION}
SHAPES |= {f"layers/mlp/{name}/kernel": (LAYERS, 30 if name == "down_proj" else 20, 8) for name in MLP}


@pytest.mark.parametrize(
    ("text", "modules", "layers"),
    [
        ("all", MODULES, range(6)),
        ("attention", ATTENTION, range(6)),
        ("mlp", MLP, range(6)),
        ("q_proj", ["q_proj"], range(6)),
        ("q_proj,k_proj@0-2", ["q_proj", "k_proj"], [0, 1, 2]),
        ("attention@3,5", ATTENTION, [3, 5]),
        (" mlp , o_proj @ 1 - 2 , 4", [*MLP, "o_proj"], [1, 2, 4]),
        ("all@5-5", MODULES, [5]),
        ("all@0-5", MODULES, range(6)),
    ],
)
def test_selects_just_these_modules_and_layers(text, modules, layers):
    for module in MODULES:
        wanted = [module in modules and layer in layers for layer in range(LAYERS)]
        np.testing.assert_array_equal(Selector(text).matches(module, LAYERS), wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("atention", "selector 'atention': 'atention' matches no module; did you mean 'attention'"),
        ("", "'' matches no module; known: all, attention, down_proj"),
        ("mlp,", "selector 'mlp,': '' matches no module"),
        ("@3", "'' matches no module"),
        ("mlp@x", "'x' is not a layer or range of layers such as 3 or 0-9"),
        ("mlp@1-", "'1-' is not a layer"),
        ("mlp@-1", "'-1' is not a layer"),
        ("mlp@1-2-3", "'1-2-3' is not a layer"),
        ("mlp@1,", "'' is not a layer"),
        ("mlp@", "'' is not a layer"),
        ("mlp@²", "'²' is not a layer"),
        ("mlp@1.5", "'1.5' is not a layer"),
        ("mlp@1@2", "'1@2' is not a layer"),
        ("embed_tokens", "'embed_tokens' matches no module"),
    ],
)
def test_malformed_selectors_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        Selector(text)


@pytest.mark.parametrize(("text", "part"), [("mlp@6", "6"), ("mlp@0-6", "0-6"), ("mlp@4-2", "4-2"), ("q_proj@0,9", "9")])
def test_layers_outside_the_model_are_refused(text, part):
    with pytest.raises(InputError, match=f"layers {part} match nothing; the model has layers 0-5"):
        Selector(text).matches("up_proj", LAYERS)


@pytest.mark.parametrize("value", [-0.1, 1, 1.0, 2, float("nan"), float("inf"), "0.3", None, True])
def test_sparsity_must_be_a_number_below_one(value):
    with pytest.raises(InputError, match=r"here is .*; a sparsity must lie in \[0, 1\)"):
        check_sparsity(value, "here")


@pytest.mark.parametrize("value", [0, 0.0, 0.3, 0.999])
def test_sparsity_is_handed_through(value):
    assert check_sparsity(value, "here") == value


def test_budgets_follow_select_and_the_last_matching_override():
    overrides = {"mlp": 0.5, "mlp@4-5": 0.9, "q_proj@1": 0}
    keep = budgets(SHAPES, 0.25, "q_proj,mlp@1-5", overrides)
    assert keep.keys() == SHAPES.keys()
    np.testing.assert_array_equal(keep["layers/mlp/up_proj/kernel"], [20, 10, 10, 10, 2, 2])
    np.testing.assert_array_equal(keep["layers/mlp/down_proj/kernel"], [30, 15, 15, 15, 3, 3])
    np.testing.assert_array_equal(keep["layers/self_attn/q_proj/kernel"], [20, 20, 15, 15, 15, 15])
    np.testing.assert_array_equal(keep["layers/self_attn/k_proj/kernel"], [20] * 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"sparsity": 0.3, "overrides": {"mlp": 1.5}}, "sparsity of 'mlp' is 1.5"),
        ({"sparsity": 0.3, "select": "attention", "overrides": {"mlp": 0.5}}, "override 'mlp' matches nothing within select"),
        ({"sparsity": 0.3, "select": "all@0", "overrides": {"mlp@1": 0.5}}, "override 'mlp@1' matches nothing within select"),
        ({"sparsity": 0.3, "select": "all@9"}, "layers 9 match nothing"),
        ({"sparsity": 0.3, "overrides": {"all@9": 0.1}}, "layers 9 match nothing"),
        ({"sparsity": 0.3, "overrides": {"mpl": 0.1}}, "did you mean 'mlp'"),
    ],
)
def test_budgets_refuse(settings, message):
    with pytest.raises(InputError, match=message):
        budgets(SHAPES, **settings)
