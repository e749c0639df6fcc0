"""A mask bank in the decoder gives the logits of masks folded into the weights, for every family."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from several_processes import environment

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.inference.mask_bank import bank_of, full_bank, put
from jaxpersona.models.cpu.bfloat16_bits import compact
from jaxpersona.models.decoder import Personas
from jaxpersona.models.sites import HEAD


def random_masks(params, seed, keep=0.7, head=False):
    """Returns random masks of a parameter tree."""
    rng = np.random.default_rng(seed)
    flat = flatten(params)
    kernels = {path: leaf for path, leaf in flat.items() if path.endswith("kernel") and (head or path != HEAD)}
    nested = {}
    for path, kernel in kernels.items():
        *folders, name = path.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = jnp.asarray(rng.random(kernel.shape) < keep)
    return jp.Masks.from_bool(nested)


@pytest.mark.parametrize(
    ("name", "soft"),
    [("llama3", False), *((name, True) for name in ("llama3", "smollm", "qwen2", "qwen3", "gemma2", "gemma3"))],
)
def test_banked_sequences_get_the_logits_of_folded_masks(golden, forward, name, soft):
    model = golden(name)
    masks = [random_masks(model.params, seed) for seed in (1, 2)]
    # the second row of ``gamma`` is hard as well; without any, the program is another, in the same way for every family
    ids, gamma = np.array([1, 0, 1]), np.array([0.5, 0.0, 0.25], np.float32) if soft else np.zeros(3, np.float32)
    tokens = np.concatenate([model.tokens, model.tokens])[:3]
    personas = Personas(jnp.asarray(ids), jnp.asarray(gamma) if soft else None)
    variables = {"params": model.params, "masks": bank_of(model.params, masks)}
    found = forward(model.config, variables, tokens, personas=personas)
    for row in range(3):
        folded = jp.apply_mask(model.params, masks[ids[row]], float(gamma[row]))
        expected = forward(model.config, {"params": folded}, tokens[row : row + 1])
        np.testing.assert_allclose(found[row], expected[0], rtol=0, atol=2e-4)
    assert np.abs(found[0] - forward(model.config, {"params": model.params}, tokens)[0]).max() > 0.1


def test_bfloat16_agrees_within_the_kernels_tolerance(golden, forward):
    model = golden("llama3")
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
    masks = random_masks(model.params, 1)
    banked = {"params": params, "masks": bank_of(params, [masks])}
    found = forward(model.config, banked, model.tokens, personas=Personas(jnp.zeros(len(model.tokens), jnp.int32)))
    expected = forward(model.config, {"params": jp.apply_mask(params, masks)}, model.tokens)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.02


def test_a_masked_head_is_banked_as_well(golden, forward):
    model = golden("llama3")
    assert HEAD in flatten(model.params)
    masks = [random_masks(model.params, seed, head=seed == 1) for seed in (0, 1)]
    tokens = np.repeat(model.tokens[:1], 2, axis=0)
    variables = {"params": model.params, "masks": bank_of(model.params, masks)}
    found = forward(model.config, variables, tokens, personas=Personas(jnp.array([0, 1])))
    for row in (0, 1):
        expected = forward(model.config, {"params": jp.apply_mask(model.params, masks[row])}, tokens[:1])
        np.testing.assert_allclose(found[row], expected[0], rtol=0, atol=2e-4)


@pytest.mark.parametrize("form", ["stacked", "compact"])
def test_a_full_bank_is_the_base_model_and_one_place_is_put_at_a_time(golden, forward, form):
    model = golden("llama3")
    params = model.params if form == "stacked" else compact(model.params)
    tokens, personas = np.repeat(model.tokens[:1], 3, axis=0), Personas(jnp.array([0, 1, 2]))
    bank = full_bank(params, 2)
    whole = forward(model.config, {"params": params}, tokens)
    found = forward(model.config, {"params": params, "masks": bank}, tokens, personas=personas)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-4)
    bank = put(bank, 1, random_masks(model.params, 3))
    found = forward(model.config, {"params": params, "masks": bank}, tokens, personas=personas)
    np.testing.assert_allclose(found[::2], whole[::2], rtol=0, atol=1e-4)
    assert np.abs(found[1] - whole[1]).max() > 0.1


@pytest.mark.parametrize("form", ["stacked", "compact"])
def test_a_persona_leaves_nothing_behind_for_the_next_at_its_place(golden, form):
    params = golden("llama3").params
    read = params if form == "stacked" else compact(params)
    masks, without_head = random_masks(params, 0, head=True), random_masks(params, 1)
    used = put(put(full_bank(read, 1, head=True), 0, masks), 0, without_head)
    fresh = put(full_bank(read, 1, head=True), 0, without_head)
    jax.tree.map(np.testing.assert_array_equal, used, fresh)


@pytest.mark.parametrize(
    ("name", "gamma"), [("llama3", None), *((name, [0.5, 0.0, 0.25]) for name in ("llama3", "qwen2", "gemma2"))]
)
def test_compact_parameters_have_a_bank_of_their_own(golden, forward, name, gamma):
    model, ids = golden(name), [9, 0, 8]
    masks = [random_masks(model.params, seed, head=seed == 8) for seed in range(10)]
    tokens = np.repeat(model.tokens[:1], 3, axis=0)
    params = compact(model.params)
    soft = None if gamma is None else jnp.array(gamma, jnp.float32)
    banked = {"params": params, "masks": bank_of(params, masks)}
    found = forward(model.config, banked, tokens, personas=Personas(jnp.array(ids), soft))
    rounded = flatten(model.params)
    for path in (path for path in rounded if path.endswith(("/kernel", "/embedding"))):
        rounded[path] = rounded[path].astype(jnp.bfloat16).astype(jnp.float32)
    rounded = unflatten(rounded)
    for row, place in enumerate(ids):
        folded = jp.apply_mask(rounded, masks[place], gamma[row] if gamma else 0.0)
        expected = forward(model.config, {"params": folded}, tokens[:1])
        np.testing.assert_allclose(found[row], expected[0], rtol=0, atol=2e-4)


def test_masks_that_do_not_fit_are_refused(golden):
    params = golden("llama3").params
    with pytest.raises(InputError, match="mask does not fit the model"):
        put(full_bank(params, 2), 0, random_masks(golden("qwen2").params, 0))
    with pytest.raises(InputError, match="lm_head/kernel has words"):
        put(full_bank(params, 2), 0, random_masks(params, 0, head=True))


SHARDED = """
import sys
import numpy as np
import jaxpersona as jp
from inference.test_mask_bank import random_masks
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.tree import flatten
from jaxpersona.inference.engine import Engine
from jaxpersona.inference.requests import Request

def engine(**on):
    model = jp.load_model(sys.argv[1], "float32", **on)
    return Engine(model, masks, rows=3, max_length=16, weights="packed", resident=2)

masks = {name: random_masks(jp.load_model(sys.argv[1], "float32").params, seed) for seed, name in enumerate("ab")}
requests = [Request([5, 6, 7], name, max_new_tokens=4, alternatives=0, prompt_scored=True) for name in ("b", "a", None)]
alone, split = engine(), engine(mesh=make_mesh(1, 2))
for one, two in zip(alone.generate(requests), split.generate(requests)):
    assert one.ids == two.ids
    numbers = ([score.log_prob for score in (*found.prompt_scores[1:], *found.scores)] for found in (one, two))
    np.testing.assert_allclose(*numbers, rtol=0, atol=1e-4)

for path, leaf in {**flatten(split._weights._bank), **flatten(split._state.cache)}.items():
    assert 2 * leaf.addressable_shards[0].data.size == leaf.size, path
"""


def test_on_a_mesh_an_engine_shards_bank_and_cache_and_gives_the_same_log_probabilities(tiny_folder):
    subprocess.run([sys.executable, "-c", SHARDED, str(tiny_folder)], env=environment(devices=2), check=True)
