"""Masks at a price are the choice of coordinate ascent, within the selected layers."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import LITTLE, same
from margins import removed, two_pairs

from jaxpersona.calibration import taylor_statistics
from jaxpersona.core.errors import InputError
from jaxpersona.masks import coordinate_ascent
from jaxpersona.methods import taylor_masks
from jaxpersona.models.sites import SITE_OF, kernels, module_of


@pytest.fixture(scope="module")
def margin_alone(tiny_model):
    return taylor_statistics.collect(tiny_model, two_pairs(tiny_model), amount=LITTLE)


@pytest.fixture(scope="module")
def statistics(tiny_model, margin_alone):
    return dataclasses.replace(margin_alone, shared=taylor_statistics.collect_shared(tiny_model, two_pairs(tiny_model), 0.5, 0))


@pytest.mark.parametrize("own_weight", [0.0, 0.5])
def test_masks_are_the_choice_at_a_price_within_the_selected_layers(tiny_model, statistics, margin_alone, own_weight):
    statistics = statistics if own_weight else margin_alone
    mask = removed(taylor_masks.masks_at(tiny_model.params, statistics, 1, "up_proj,o_proj@1-2", 3.0, own_weight))
    for path, kernel in kernels(tiny_model.params).items():
        if path.split("/")[-2] not in ("up_proj", "o_proj"):
            assert not mask[path].any()
            continue
        assert not mask[path][0].any()
        for layer in (1, 2):
            inputs = np.asarray(statistics.factors.inputs[SITE_OF[module_of(path)]][layer])
            shrunk = 0.9 * inputs + 0.1 * np.diag(np.diag(inputs))
            margin = np.asarray(statistics.margin[path][layer], np.float32)
            shared = np.asarray(statistics.shared[path][layer], np.float32) if own_weight else 0
            gain = -kernel[layer] * (shared - (1 + own_weight) / (1 + own_weight / 2) * margin)  # persona 1 gains by the opposite
            chosen = coordinate_ascent.choose(kernel[layer], gain, shrunk, statistics.factors.outputs[path][layer], 3.0)
            np.testing.assert_array_equal(mask[path][layer], chosen)


@pytest.mark.parametrize("price", [0.3, 3.0, np.inf])
@pytest.mark.parametrize("own_weight", [0.0, 0.5])
def test_on_all_cores_words_are_bit_for_bit_those_of_one_program(tiny_model, statistics, monkeypatch, price, own_weight):
    arguments = statistics, taylor_masks.eligible_layers(tiny_model.params, "mlp,k_proj@1-2"), 1, price, own_weight
    found = taylor_masks.words_at(tiny_model.params, *arguments)
    monkeypatch.setattr(taylor_masks.jax, "default_backend", lambda: "gpu")
    expected = taylor_masks.words_at(tiny_model.params, *arguments)
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert (found[path].dtype, found[path].shape) == (words.dtype, words.shape)
        np.testing.assert_array_equal(found[path], words)


def test_on_all_cores_host_arrays_are_taken_too(tiny_model, statistics):
    arguments = taylor_masks.eligible_layers(tiny_model.params, "all"), 0, 3.0, 0.5
    host = jax.tree.map(np.asarray, vars(statistics))
    found = taylor_masks.words_at(tiny_model.params, dataclasses.replace(statistics, **host), *arguments)
    assert same(found, taylor_masks.words_at(tiny_model.params, statistics, *arguments))


def test_a_higher_price_removes_less(tiny_model, statistics):
    kept = [taylor_masks.masks_at(tiny_model.params, statistics, 0, "all", price).kept() for price in (0.3, 3.0, 30.0, np.inf)]
    assert kept == sorted(kept)
    assert kept[0] < kept[2] < kept[3] == 1


def test_scores_are_minus_gain_over_damage(tiny_model, margin_alone):
    statistics = margin_alone
    for path, found in taylor_masks.scores(tiny_model.params, statistics, 1).items():
        kernel = np.asarray(kernels(tiny_model.params)[path], np.float64)
        inputs = np.asarray(statistics.factors.inputs[SITE_OF[module_of(path)]], np.float64)
        damage = 0.5 * kernel**2 * np.diagonal(inputs, axis1=1, axis2=2)[:, :, None]
        damage = damage * np.asarray(statistics.factors.outputs[path], np.float64)[:, None]
        np.testing.assert_allclose(found, -kernel * np.asarray(statistics.margin[path]) / damage, rtol=1e-3)


def test_a_selector_that_matches_nothing_is_refused(tiny_model):
    with pytest.raises(InputError, match="layers 7 match nothing"):
        taylor_masks.eligible_layers(tiny_model.params, "mlp@7")
