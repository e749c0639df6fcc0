"""Formulas for sizes agree with real arrays, and with the memory that XLA plans for whole programs."""

import dataclasses

import jax
import numpy as np
import pytest
from shapes import LLAMA_8B, SMALL, config_of

import jaxpersona as jp
from jaxpersona.calibration import fisher, moments
from jaxpersona.calibration.backward import FACTORS, GRADIENT, zero_sums
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.core.tree import flatten
from jaxpersona.data.packing import Batch
from jaxpersona.models import sizes
from jaxpersona.models.decoder import Decoder, parameter_shapes
from jaxpersona.models.sites import kernels


def abstract(config, rows, length, dtype=np.float32):
    """Returns the shapes of parameters, a batch and shares."""
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), parameter_shapes(config))
    tokens = jax.ShapeDtypeStruct((rows, length), np.int32)
    weights = jax.ShapeDtypeStruct((2, rows, length), np.float32)
    return params, Batch(tokens, tokens, tokens, tokens, weights), jax.ShapeDtypeStruct((rows, length), np.float32)


def test_sizes_are_those_of_the_arrays(tiny_model, pairs):
    config = tiny_model.config
    run = jp.discover(tiny_model, pairs, jp.methods.Wanda(0.5))
    flat, leaves = kernels(tiny_model.params), jax.tree.leaves(tiny_model.params)
    assert sizes.kernel_shapes(config) == {path: kernel.shape for path, kernel in flat.items()}
    assert sizes.parameters(config) == sum(leaf.size for leaf in leaves)
    assert sizes.largest_leaf(config) == max(leaf.size for leaf in leaves)
    assert sizes.maskable(config) == sum(kernel.size for kernel in flat.values())
    assert sizes.mask_bytes(config) == sum(words.nbytes for words in run.masks["seek"].words.values())
    assert sizes.moments_bytes(config) == sum(leaf.nbytes for leaf in jax.tree.leaves(run.statistics.moments))
    assert sizes.channels(config) == {site: part["mean"].shape[-1] for site, part in run.statistics.moments.items()}
    assert sizes.outer_bytes(config) == sum(leaf.nbytes for leaf in jax.tree.leaves(run.calibration.hessians))


def test_parameters_of_a_device_are_its_shards(tiny_model):
    config = tiny_model.config
    assert sizes.parameters_of_device(config, 4, 1) == sizes.parameters(config)
    norms = sum(leaf.size for path, leaf in flatten(tiny_model.params).items() if path.endswith("scale"))
    assert sizes.parameters_of_device(config, 1, 2) == norms + (sizes.parameters(config) - norms) // 2


def test_numbers_of_a_known_model():
    assert sizes.parameters(LLAMA_8B) == 8_030_261_248
    assert sizes.maskable(LLAMA_8B) == 6_979_321_856
    assert sizes.largest_leaf(LLAMA_8B) == 32 * 4096 * 14336


@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: str(shape["hidden_size"]))
@pytest.mark.parametrize(("rows", "length"), [(4, 256), (8, 128)])
def test_activations_of_a_forward_pass_are_those_xla_plans(shape, rows, length):
    config = config_of(**shape)
    params, batch, _ = abstract(config, rows, length)
    program = moments.site_sums.lower(params, batch, Decoder(config, moments.weighted_sums), None).compile()
    held = program.memory_analysis().temp_size_in_bytes
    assert held == pytest.approx(sizes.activation_bytes(config, rows, length, 1, 4), rel=0.25)


@pytest.mark.parametrize("shape", SMALL[:2], ids=lambda shape: str(shape["hidden_size"]))
def test_hessians_are_those_xla_returns(shape):
    config = config_of(**shape)
    params, batch, _ = abstract(config, 4, 256)
    program = moments.site_sums.lower(params, batch, Decoder(config, outer_sums), None).compile()
    assert program.memory_analysis().output_size_in_bytes == pytest.approx(sizes.outer_bytes(config), rel=0.01)


@pytest.mark.parametrize("parts", [GRADIENT, FACTORS, GRADIENT + FACTORS], ids=len)
@pytest.mark.parametrize(("rows", "length"), [(2, 256), (4, 256)])
def test_memory_of_gradients_is_what_xla_plans(parts, rows, length):
    config = dataclasses.replace(config_of(**SMALL[1]), vocab_size=8192)
    params, *batch = abstract(config, rows, length)
    total = jax.eval_shape(lambda flat: zero_sums(flat, parts), kernels(params))
    decoder = Decoder(config, outer_sums if "inputs" in parts else None)
    memory = fisher._with_batch.lower(total, params, *batch, decoder, 256, None).compile().memory_analysis()
    sums = {"gradient": 4 * sizes.maskable(config), "inputs": sizes.outer_bytes(config, 1), "outputs": 0}
    assert memory.alias_size_in_bytes == pytest.approx(sum(sums[part] for part in parts), rel=0.01)  # added to in place
    held = sizes.gradient_activation_bytes(config, rows, length, 1, config.num_layers)
    of_layer = 2 * sums["gradient"] / config.num_layers  # a layer's kernels, and their gradient before it is added
    assert memory.temp_size_in_bytes == pytest.approx(held + of_layer, rel=0.2)
