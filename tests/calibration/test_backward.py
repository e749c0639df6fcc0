"""One step of the backward pass agrees with finite differences, and sums only what is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpersona.calibration.backward import FACTORS, GRADIENT, head_gradient, layer_sums, zero_sums
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.data.packing import whole_rows
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.sites import kernels

LENGTH = 7


@pytest.fixture(scope="module")
def batch():
    return whole_rows(np.random.default_rng(0).integers(3, 250, (2, LENGTH)).astype(np.int32), None, 2)[0]


def random(model, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, LENGTH, model.config.hidden_size)), jnp.float32)


def slope(function, x, direction):
    """Returns the derivative of a function of x along a direction."""
    return (float(function(x + 1e-2 * direction)) - float(function(x - 1e-2 * direction))) / 2e-2


def one_layer(model, number):
    return {"layers": jax.tree.map(lambda leaf: leaf[number : number + 1], model.params["layers"])}


def test_gradient_at_the_input_of_a_layer(tiny_model, batch):
    x, direction, gradient = (random(tiny_model, seed) for seed in range(3))
    params, flag = one_layer(tiny_model, 1), np.array(tiny_model.config.is_sliding[1:2])

    def weighted_output(x):
        return jnp.sum(jnp.asarray(Decoder(tiny_model.config).apply({"params": params}, x, flag, method="through")) * gradient)

    found, _ = layer_sums(Decoder(tiny_model.config), GRADIENT, params, x, flag, batch, gradient)
    np.testing.assert_allclose(float(jnp.sum(found * direction)), slope(weighted_output, x, direction), rtol=0.01)


def test_gradient_at_the_input_of_the_head(tiny_model, batch):
    x, direction, decoder = random(tiny_model, 3), random(tiny_model, 4), Decoder(tiny_model.config)
    shares = np.zeros((2, LENGTH), np.float32)
    shares[0, 3], shares[1, 5] = 1, -0.5

    def objective(x):
        hidden = decoder.apply({"params": tiny_model.params}, x, method="normed")
        logits = np.asarray(decoder.apply({"params": tiny_model.params}, hidden, method="logits"), np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return sum(shares[row, at] * log_probs[row, at - 1, batch.tokens[row, at]] for row, at in ((0, 3), (1, 5)))

    found = head_gradient(decoder, LENGTH, tiny_model.params, x, batch, shares)
    np.testing.assert_allclose(float(jnp.sum(found * direction)), slope(objective, x, direction), rtol=0.01)


@pytest.mark.parametrize("parts", [GRADIENT, FACTORS, GRADIENT + FACTORS], ids=len)
def test_sums_have_the_parts_and_shapes_that_were_asked_for(tiny_model, batch, parts):
    params, flag = one_layer(tiny_model, 0), np.array(tiny_model.config.is_sliding[:1])
    decoder = Decoder(tiny_model.config, outer_sums if "inputs" in parts else None)
    _, sums = layer_sums(decoder, parts, params, random(tiny_model, 5), flag, batch, random(tiny_model, 6))
    expected = zero_sums(kernels(params), parts)
    shapes = [{part: {name: leaf.shape for name, leaf in of.items()} for part, of in each.items()} for each in (sums, expected)]
    assert tuple(sums) == parts and shapes[0] == shapes[1]
    assert all(float(jnp.abs(leaf).max()) > 0 for of_part in sums.values() for leaf in of_part.values())
