"""Masks arranged like other libraries' parameters: the same model, computed with their einsums, is masked in the same places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_masks import random_masks

import jaxpersona as jp
from jaxpersona.masks.matrices import matrices
from jaxpersona.models.sites import HEAD, MODULES

LAYERS, HIDDEN, INNER, HEADS, KV, SIZE = 3, 32, 48, 4, 2, 8  # of the tiny model


@pytest.fixture(scope="module")
def masks(tiny_model):
    return random_masks(tiny_model.params, head=True)


@pytest.fixture(scope="module")
def plain(masks):
    """Returns the masks without the head's: Gemma's is tied."""
    words = {path: words for path, words in masks.words.items() if path != HEAD}
    rows = tuple((path, count) for path, count in masks.in_features if path != HEAD)
    return jp.Masks(words, rows, (*masks.others, HEAD))


@pytest.fixture(scope="module")
def bits(masks):
    """Returns every mask, bool (out, in), by module and layer."""
    found = dict(matrices(masks))
    group = {module: "self_attn" if module[0] in "qkvo" else "mlp" for module in MODULES}
    return {(m, n): found[f"model.layers.{n}.{group[m]}.{m}.weight"] for m in MODULES for n in range(LAYERS)} | {
        (HEAD, 0): found["lm_head.weight"]
    }


def floats(shapes):
    return jax.tree.map(lambda shape: jnp.ones(shape), shapes, is_leaf=lambda value: isinstance(value, tuple))


def attention(q, k, v, o):
    return {"q_proj": q, "k_proj": k, "v_proj": v, "o_proj": o}


def test_tunix_llama(masks, bits):
    heads = attention((HIDDEN, HEADS, SIZE), (HIDDEN, KV, SIZE), (HIDDEN, KV, SIZE), (HEADS, SIZE, HIDDEN))
    mlp = {"gate_proj": (HIDDEN, INNER), "up_proj": (HIDDEN, INNER), "down_proj": (INNER, HIDDEN)}
    layer = {"attn": {name: {"w": shape} for name, shape in heads.items()}, "mlp": {n: {"kernel": s} for n, s in mlp.items()}}
    params = floats(
        {"layers": dict.fromkeys(range(LAYERS), layer), "lm_head": {"w": (HIDDEN, 272)}, "final_norm": {"w": (HIDDEN,)}}
    )
    found = masks.for_library("tunix", params)
    for number in range(LAYERS):
        attn = found["layers"][number]["attn"]
        q, o = bits["q_proj", number], bits["o_proj", number]
        for head in range(HEADS):  # rows of a head lie together in Hugging Face's (out, in)
            rows = slice(head * SIZE, (head + 1) * SIZE)
            np.testing.assert_array_equal(attn["q_proj"]["w"][:, head], q[rows].T)
            np.testing.assert_array_equal(attn["o_proj"]["w"][head], o[:, rows].T)
        np.testing.assert_array_equal(attn["v_proj"]["w"][:, 1], bits["v_proj", number][SIZE:].T)
        np.testing.assert_array_equal(found["layers"][number]["mlp"]["down_proj"]["kernel"], bits["down_proj", number].T)
    assert found["final_norm"]["w"] is True
    np.testing.assert_array_equal(found["lm_head"]["w"], bits[HEAD, 0].T)


@pytest.mark.parametrize("library", ["gemma", "tunix"])
def test_einsums_of_gemma(plain, bits, library):
    """Checks the einsum of each leaf on random inputs: BTD,NDH->BTNH and so on, as both libraries compute them."""
    x = np.random.default_rng(0).normal(size=(2, HIDDEN))
    attn = {"q_einsum": (HEADS, HIDDEN, SIZE), "kv_einsum": (2, KV, HIDDEN, SIZE), "attn_vec_einsum": (HEADS, SIZE, HIDDEN)}
    mlp = {"gating_einsum": (2, INNER, HIDDEN), "linear": (INNER, HIDDEN)}
    if library == "tunix":
        mlp = {"gate_proj": {"kernel": (HIDDEN, INNER)}, "up_proj": {"kernel": (HIDDEN, INNER)}}
        mlp["down_proj"] = {"kernel": (INNER, HIDDEN)}
    layer = {"attn": {name: {"w": shape} for name, shape in attn.items()}, "mlp": mlp}
    tree = {f"layer_{n}": layer for n in range(LAYERS)} if library == "gemma" else {"layers": dict.fromkeys(range(LAYERS), layer)}
    found = plain.for_library(library, floats(tree))
    found = found["layer_1"] if library == "gemma" else found["layers"][1]
    q = np.einsum("td,ndh->tnh", x, found["attn"]["q_einsum"]["w"]).reshape(2, -1)
    np.testing.assert_allclose(q, x @ bits["q_proj", 1].T)
    k, v = np.einsum("td,ckdh->ctkh", x, found["attn"]["kv_einsum"]["w"]).reshape(2, 2, -1)
    np.testing.assert_allclose(k, x @ bits["k_proj", 1].T)
    np.testing.assert_allclose(v, x @ bits["v_proj", 1].T)
    o = np.einsum("tnh,nhd->td", x.reshape(2, HEADS, SIZE), found["attn"]["attn_vec_einsum"]["w"])
    np.testing.assert_allclose(o, x @ bits["o_proj", 1].T)
    if library == "gemma":
        gate, up = np.einsum("td,cfd->ctf", x, found["mlp"]["gating_einsum"])
        np.testing.assert_allclose(gate, x @ bits["gate_proj", 1].T)
        np.testing.assert_allclose(up, x @ bits["up_proj", 1].T)
        np.testing.assert_array_equal(found["mlp"]["linear"], bits["down_proj", 1].T)


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_maxtext(masks, bits, scanned, paired):
    """With the rope of Llama 3.1, queries and keys alternate between the halves of a head."""
    kernels = {
        "query": (HIDDEN, HEADS, SIZE),
        "key": (HIDDEN, KV, SIZE),
        "value": (HIDDEN, KV, SIZE),
        "out": (HEADS, SIZE, HIDDEN),
    }
    mlp = {"wi_0": (HIDDEN, INNER), "wi_1": (HIDDEN, INNER), "wo": (INNER, HIDDEN)}
    layer = {"self_attention": {n: {"kernel": s} for n, s in kernels.items()}, "mlp": {n: {"kernel": s} for n, s in mlp.items()}}
    decoder = {f"layers_{n}": layer for n in range(LAYERS)}
    if scanned:
        stack = lambda shape: (shape[0], LAYERS, *shape[1:])  # noqa: E731
        decoder = {"layers": jax.tree.map(stack, layer, is_leaf=lambda value: isinstance(value, tuple))}
    params = floats({"params": {"decoder": {**decoder, "logits_dense": {"kernel": (HIDDEN, 272)}}}})
    found = masks.for_library("maxtext-llama3.1" if paired else "maxtext", params)["params"]["decoder"]

    def kernel(number, *names):
        leaf = found["layers"] if scanned else found[f"layers_{number}"]
        for name in names:
            leaf = leaf[name]
        return np.asarray(leaf["kernel"][:, number] if scanned else leaf["kernel"])

    for number in range(LAYERS):
        q, k = bits["q_proj", number].reshape(HEADS, SIZE, HIDDEN), bits["k_proj", number].reshape(KV, SIZE, HIDDEN)
        order = [0, 4, 1, 5, 2, 6, 3, 7] if paired else range(8)
        np.testing.assert_array_equal(kernel(number, "self_attention", "query"), q[:, order].transpose(2, 0, 1))
        np.testing.assert_array_equal(kernel(number, "self_attention", "key"), k[:, order].transpose(2, 0, 1))
        value = bits["v_proj", number].reshape(KV, SIZE, HIDDEN)
        np.testing.assert_array_equal(kernel(number, "self_attention", "value"), value.transpose(2, 0, 1))
        np.testing.assert_array_equal(kernel(number, "mlp", "wo"), bits["down_proj", number].T)


def test_levanter_and_bonsai(masks, bits):
    sizes = attention((HIDDEN, HEADS * SIZE), (HIDDEN, KV * SIZE), (HIDDEN, KV * SIZE), (HEADS * SIZE, HIDDEN))
    sizes |= {"gate_proj": (HIDDEN, INNER), "up_proj": (HIDDEN, INNER), "down_proj": (INNER, HIDDEN)}
    group = {name: ("attn" if name[0] in "qkvo" else "mlp") for name in sizes}
    layer = {}
    for name, shape in sizes.items():
        layer.setdefault(group[name], {})[name] = {"kernel": shape}
    bonsai = masks.for_library("bonsai", floats({"layers": [layer] * LAYERS, "lm_head": {"kernel": (HIDDEN, 272)}}))
    stacked = {"self_attn": {}, "mlp": {}}
    for name, shape in sizes.items():
        stacked["self_attn" if group[name] == "attn" else "mlp"][name] = {"weight": [(LAYERS, *shape[::-1])]}
    stacked["self_attn"]["q_proj"] = {"weight": [(LAYERS, KV, HEADS // KV, SIZE, HIDDEN)]}  # axes of its own for groups of heads
    tree = {
        "transformer": {"layers": {"stacked": stacked}},
        "lm_head": {"weight": [(272, HIDDEN)]},
    }  # Haliax arrays: one leaf each
    levanter = masks.for_library("levanter", floats(tree))["transformer"]["layers"]["stacked"]
    for name in sizes:
        for number in range(LAYERS):
            expected = bits[name, number]
            np.testing.assert_array_equal(bonsai["layers"][number][group[name]][name]["kernel"], expected.T)
            leaf = levanter["self_attn" if group[name] == "attn" else "mlp"][name]["weight"][0][number]
            np.testing.assert_array_equal(np.reshape(leaf, expected.shape), expected)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.up = nnx.Linear(HIDDEN, INNER, rngs=rngs)
        self.norm = nnx.LayerNorm(HIDDEN, rngs=rngs)


class Other(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])


def test_any_other_model_by_its_paths_and_apply_mask(masks, bits):
    """Masks NNX parameters, and leaves those without a mask as they are."""
    only = masks.at_kernel("layers/mlp/up_proj/kernel")
    params = nnx.state(Other(nnx.Rngs(0)), nnx.Param)
    mask = only.for_library({r"blocks\.(?P<layer>\d+)\.up\.kernel": "up_proj"}, params)
    masked = jp.apply_mask(params, mask, 0.25)
    for number in range(LAYERS):
        before, after = params["blocks"][number]["up"], masked["blocks"][number]["up"]
        gate = np.where(bits["up_proj", number].T, 1, 0.25).astype(np.float32)
        np.testing.assert_array_equal(after["kernel"][...], before["kernel"][...] * gate)
        assert after["bias"][...] is before["bias"][...]
    hard = jax.tree.map(jnp.multiply, params, mask)
    assert jax.tree.structure(hard) == jax.tree.structure(jp.apply_mask(params, mask))
    with pytest.raises(jp.InputError, match="the mask has another structure than the parameters"):
        jp.apply_mask({"a": jnp.ones(3)}, mask)


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ("tunic", "library 'tunic' is unknown; did you mean 'tunix'"),
        (
            "bonsai",
            r"no leaf for layers/mlp/up_proj/kernel of layer 0 by the names of bonsai \(3 missing\); its leaves are blocks",
        ),
        ({r"blocks\.(?P<layer>\d+)\.up\.kernel": "upper"}, "module 'upper' of path .* is unknown"),
        ({r"blocks\.\d+\.up\.kernel": "up_proj"}, r"has no layer; write it as a group"),
        ({r"blocks\.(?P<layer>\d+\.up\.kernel": "up_proj"}, "is not a regular expression"),
        ({r"blocks\.(?P<layer>\d+)\.norm\.scale": "up_proj"}, r"norm.scale has kernels of \(32,\)"),
    ],
)
def test_what_does_not_fit_is_refused(masks, library, message):
    only = masks.at_kernel("layers/mlp/up_proj/kernel")
    with pytest.raises(jp.InputError, match=message):
        only.for_library(library, nnx.state(Other(nnx.Rngs(0)), nnx.Param))
