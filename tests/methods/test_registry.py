"""Methods are made by name; wrong names and settings are refused."""

import pytest

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.methods.registry import ALIASES, METHODS, by_name


def test_every_method_is_found_by_its_name():
    assert set(METHODS) == {
        *("wanda", "sparse", "sparsegpt", "contrastive_wanda", "contrastive_sparse", "magnitude", "random", "taylor"),
        "steering",
    }
    assert all(by_name(name).name == name for name in METHODS)


def test_the_former_name_of_taylor_is_an_alias():
    assert ALIASES == {"first_order": "taylor"}
    assert by_name("first_order", sparsity=0.1) == by_name("taylor", sparsity=0.1) == jp.methods.Taylor(0.1)
    assert jp.methods.FirstOrder is jp.methods.Taylor


def test_settings_reach_the_method_and_none_keeps_the_default():
    method = by_name(
        "wanda", sparsity=0.5, activation="rms", select="mlp", overrides={"mlp@0": 0.1}, max_perplexity_increase=None
    )
    assert method == jp.methods.Wanda(0.5, "mlp", {"mlp@0": 0.1}, "rms")
    assert by_name("wanda", sparsity=None, activation=None) == jp.methods.Wanda()
    assert (jp.methods.Wanda().sparsity, jp.methods.Wanda().activation) == (0.3, "abs")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("wnada", {}, "method.name 'wnada' is unknown; did you mean 'wanda'"),
        ("stearing", {}, "did you mean 'steering'"),
        ("wanda", {"max_perplexity_increase": 0.1}, "method wanda has no setting 'max_perplexity_increase'; it has: activation"),
        ("first_order", {"activation": "abs"}, "method taylor has no setting 'activation'; it has: budget_"),
        ("magnitude", {"activation": "abs"}, "method magnitude has no setting 'activation'"),
        ("sparse", {"update": True}, "method sparse has no setting 'update'"),
        ("wanda", {"activation": "max"}, "activation 'max' of method wanda is unknown; known: abs, rms"),
        ("random", {"sparsity": 1.0}, "sparsity is 1.0"),
        ("random", {"sparsity": True}, "method random: sparsity is True; expected float"),
        ("sparsegpt", {"update": "x"}, "method sparsegpt: update is 'x'; expected bool"),
        ("wanda", {"select": 3}, "method wanda: select is 3; expected str"),
        ("wanda", {"overrides": {3: 0.2}}, "selector '3': '3' matches no module"),
    ],
)
def test_by_name_refuses(name, settings, message):
    with pytest.raises(InputError, match=message):
        by_name(name, **settings)
