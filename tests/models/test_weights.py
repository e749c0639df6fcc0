"""Parameters are read from any tensor source: each tensor exactly once, checked, in the requested dtype."""

import collections

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from conftest import recorded

from jaxpersona import InputError
from jaxpersona.core.mesh import make_mesh, sharding_of
from jaxpersona.core.tree import flatten
from jaxpersona.models.weights import _read_leaf, hf_name, load_params


class Tensors:
    """Counts how often each tensor in memory is read."""

    def __init__(self, tensors, **changes):
        self.tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
        self.tensors |= {name.replace("__", "."): value for name, value in changes.items()}
        self.reads = collections.Counter()

    def shape(self, name):
        return self.tensors[name].shape

    def read(self, name, part=()):
        self.reads[name] += 1
        return self.tensors[name][part]


@pytest.mark.parametrize("name", ["llama_linear", "qwen2", "qwen3", "gemma2"])
def test_every_tensor_of_the_checkpoint_is_read_exactly_once(golden, load, name):
    model = golden(name)
    source = Tensors(model.tensors)
    load(source, model.config)
    assert source.reads == dict.fromkeys(source.tensors, 1)


def test_kernels_are_transposed_and_everything_else_is_kept(golden, load):
    model = golden("llama_linear")
    params = flatten(load(Tensors(model.tensors), model.config))
    tensors = model.tensors
    np.testing.assert_array_equal(params["lm_head/kernel"], tensors["lm_head.weight"].T)
    np.testing.assert_array_equal(params["embed_tokens/embedding"], tensors["model.embed_tokens.weight"])
    np.testing.assert_array_equal(params["norm/scale"], tensors["model.norm.weight"])
    for layer in range(model.config.num_layers):
        prefix = f"model.layers.{layer}"
        kernel, bias = params["layers/self_attn/k_proj/kernel"], params["layers/self_attn/k_proj/bias"]
        np.testing.assert_array_equal(kernel[layer], tensors[f"{prefix}.self_attn.k_proj.weight"].T)
        np.testing.assert_array_equal(bias[layer], tensors[f"{prefix}.self_attn.k_proj.bias"])
        np.testing.assert_array_equal(params["layers/input_layernorm/scale"][layer], tensors[f"{prefix}.input_layernorm.weight"])


@pytest.mark.parametrize("name", ["llama_linear", "qwen2"])
def test_a_part_of_a_leaf_is_that_part_of_the_whole_and_no_more_is_read(golden, load, name):
    model, rng = golden(name), np.random.default_rng(0)
    for path, leaf in flatten(load(Tensors(model.tensors), model.config)).items():
        source = Tensors(model.tensors)
        part = tuple(slice(*sorted(rng.integers(0, size + 1, 2).tolist())) for size in leaf.shape)
        found = _read_leaf(source, path, leaf.shape, np.float32, part)
        np.testing.assert_array_equal(found, np.asarray(leaf)[part])
        assert source.reads.total() == (found.shape[0] if path.startswith("layers/") else 1)


def test_a_mesh_changes_no_number(golden, load):
    model = golden("llama2")
    expected = flatten(load(Tensors(model.tensors), model.config))
    found = flatten(load_params(Tensors(model.tensors), model.config, jnp.float32, mesh=make_mesh(1, 1)))
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf)
        assert found[path].sharding.spec == sharding_of(path, leaf.shape, make_mesh(1, 1)).spec


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_that_of_every_leaf_rounded_to_nearest(golden, load, dtype):
    model = golden("llama2")
    params = flatten(load(Tensors(model.tensors), model.config, dtype))
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype(dtype)}
    expected = model.tensors["lm_head.weight"].T.astype(ml_dtypes.bfloat16 if dtype == jnp.bfloat16 else np.float32)
    np.testing.assert_array_equal(params["lm_head/kernel"], expected)


def test_progress_counts_the_leaves_up_to_all(golden):
    model = golden("llama2")
    stage, seen = recorded()
    load_params(Tensors(model.tensors), model.config, np.float32, stage)
    count = len(flatten(model.params))
    assert seen == [(done, count) for done in range(1, count + 1)]


def test_a_wrong_shape_names_both_shapes(golden, load):
    model = golden("llama2")
    narrow = {"layers__1__mlp__up_proj__weight": np.zeros((47, 32), np.float32)}
    message = r"layers.1.mlp.up_proj.weight has shape \(32, 47\), config.json says \(32, 48\); they are of different models"
    with pytest.raises(InputError, match=message):
        load(Tensors(model.tensors, **narrow), model.config)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["model.layers.2.mlp.up_proj.weight", "model.norm.weight"])
def test_weights_that_are_not_finite_are_refused_by_name(golden, load, name, bad):
    model = golden("llama2")
    value = model.tensors[name].copy()
    value.flat[3] = bad
    leaf = "layers/mlp/up_proj/kernel" if "up_proj" in name else "norm/scale"
    with pytest.raises(InputError, match=f"weights of {leaf} hold NaN or infinity"):
        load(Tensors({**model.tensors, name: value}), model.config)


def test_weights_beyond_bfloat16_are_refused_only_there(golden, load):
    model = golden("llama2")
    huge = {"norm__weight": np.full(32, np.finfo(np.float32).max)}
    load(Tensors(model.tensors, **huge), model.config)
    with pytest.raises(InputError, match=r"norm/scale hold NaN or infinity"), np.errstate(over="ignore"):
        load(Tensors(model.tensors, **huge), model.config, jnp.bfloat16)


@pytest.mark.parametrize(
    ("path", "layer", "name"),
    [
        ("layers/self_attn/q_norm/scale", 0, "layers.0.self_attn.q_norm.weight"),
        ("layers/self_attn/v_proj/bias", 12, "layers.12.self_attn.v_proj.bias"),
        ("embed_tokens/embedding", None, "embed_tokens.weight"),
        ("lm_head/kernel", None, "lm_head.weight"),
    ],
)
def test_names_are_those_of_hugging_face(path, layer, name):
    assert hf_name(path, layer) == name
