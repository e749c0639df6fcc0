"""Packed masks written layer by layer are those packed at once."""

import jax
import numpy as np

import jaxpersona as jp
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import QUIET
from jaxpersona.masks.mask_writer import MaskWriter
from jaxpersona.models.sites import HEAD, kernels_and_head


def some_masks(model, persona):
    rng = np.random.default_rng(persona)
    return jp.Masks.from_bool(jax.tree.map(lambda leaf: rng.random(leaf.shape) < 0.6, model.params))


def test_layers_of_both_personas_or_of_one_add_up_to_their_masks(tiny_model, tmp_path):
    expected = [some_masks(tiny_model, persona) for persona in (0, 1)]
    writer = MaskWriter(kernels_and_head(tiny_model.params), MappedArrays(QUIET, tmp_path).array)
    for path, first in expected[0].words.items():
        both = np.stack([first, expected[1].words[path]], axis=1)
        for layer in reversed(range(len(both))):
            if layer == 1:
                for persona in (0, 1):
                    writer.put(path, layer, both[layer : layer + 1, persona], persona)
            else:
                writer.put(path, layer, both[layer : layer + 1])
    for ours, theirs in zip(writer.masks(tiny_model.params), expected, strict=True):
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert writer.parts.keys() == expected[0].words.keys() - {HEAD}
    for path, part in writer.parts.items():
        np.testing.assert_array_equal(part[:, 1], expected[1].words[path])


def test_arrays_of_one_persona_are_named_after_the_prefix(tiny_model):
    made = {}

    def array(name, shape, dtype):
        made[name] = shape
        return np.zeros(shape, dtype)

    MaskWriter({"layers/mlp/up_proj/kernel": np.zeros((3, 32, 48))}, array, 1, "words 0")
    assert made == {"words 0 layers/mlp/up_proj/kernel": (1, 3, 16, 48)}
