"""Arranges masks like the parameters of other JAX libraries, by one table of rules from Hugging Face modules.

A rule names leaves of a library's parameters by their path, the modules that such a leaf holds, and the order of its axes. Sizes
come from the leaf itself, so that heads need no configuration. Names and orders were read off each library's own conversion from
Hugging Face (docs/exports.md has versions, and what was run).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.models.sites import ATTENTION, HEAD, MLP, MODULES

Read = Callable[[str, int], np.ndarray | None]
"""Takes a kernel's path and a layer; returns its mask, bool (in, out), or None if the kernel is not masked."""
_VALUE = re.compile(r"\.(value|raw_value)$")  # of NNX variables


class Rule(NamedTuple):
    """Leaves of a library's parameters.

    Attributes:
      path: regular expression of the leaf's whole path; the group ``layer`` is its layer, and is missing if layers are stacked.
      modules: that the leaf holds; several are stacked along its first axis.
      order: ``io`` is (in, out) and ``oi`` (out, in), where heads may be axes of their own; ``nid`` is (head, in, channel).
      stacked: axis of the layers if they are stacked.
      paired: the two halves of a head that a rope rotates alternate, channel by channel.
    """

    path: str
    modules: tuple[str, ...]
    order: Literal["io", "oi", "nid"] = "io"
    stacked: int | None = None
    paired: bool = False


def _each(path: str, names: Mapping[str, str], **settings: Any) -> tuple[Rule, ...]:
    """Returns a rule per module, whose name in the library is put in place of NAME in ``path``."""
    return tuple(Rule(path.replace("NAME", name), (module,), **settings) for module, name in names.items())


def _maxtext(paired: bool) -> tuple[Rule, ...]:
    """Returns MaxText's rules, for layers with parameters of their own and for scanned ones; ``paired`` if its rope is."""
    rules = []
    for layers, stacked in ((r"layers_(?P<layer>\d+)", None), ("layers", 1)):
        attention, mlp = (rf"(params\.)?decoder\.{layers}\.{part}\.NAME\.kernel" for part in ("self_attention", "mlp"))
        rules += _each(attention, {"q_proj": "query", "k_proj": "key"}, stacked=stacked, paired=paired)
        rules += _each(attention, {"v_proj": "value", "o_proj": "out"}, stacked=stacked)
        rules += _each(mlp, {"gate_proj": "wi_0", "up_proj": "wi_1", "down_proj": "wo"}, stacked=stacked)
    return (*rules, Rule(r"(params\.)?decoder\.logits_dense\.kernel", (HEAD,)))


_OWN_ATTENTION, _OWN_MLP = ({module: module for module in modules} for modules in (ATTENTION, MLP))
_LAYERS, _LAYER = r"layers\.(?P<layer>\d+)", r"layer_(?P<layer>\d+)"
_EINSUMS = {("q_proj",): "q", ("k_proj", "v_proj"): "kv", ("q_proj", "k_proj", "v_proj"): "qkv"}
LIBRARIES: dict[str, tuple[Rule, ...]] = {
    "tunix": (
        *_each(rf"{_LAYERS}\.attn\.NAME\.w", _OWN_ATTENTION),
        *_each(rf"{_LAYERS}\.mlp\.NAME\.kernel", _OWN_MLP),
        *(Rule(rf"{_LAYERS}\.attn\.{name}_einsum\.w", modules, "nid") for modules, name in _EINSUMS.items()),
        Rule(rf"{_LAYERS}\.attn\.attn_vec_einsum\.w", ("o_proj",)),
        Rule(r"lm_head\.w", (HEAD,)),
    ),
    "gemma": (
        *(Rule(rf"{_LAYER}\.attn\.{name}_einsum\.w", modules, "nid") for modules, name in _EINSUMS.items()),
        Rule(rf"{_LAYER}\.attn\.attn_vec_einsum\.w", ("o_proj",)),
        Rule(rf"{_LAYER}\.mlp\.gating_einsum", ("gate_proj", "up_proj"), "oi"),
        Rule(rf"{_LAYER}\.mlp\.linear", ("down_proj",)),
    ),
    "bonsai": (
        *_each(rf"{_LAYERS}\.attn\.NAME\.kernel", _OWN_ATTENTION),
        *_each(rf"{_LAYERS}\.mlp\.NAME\.kernel", _OWN_MLP),
        Rule(r"lm_head\.kernel", (HEAD,)),
    ),
    "maxtext": _maxtext(paired=False),
    "maxtext-llama3.1": _maxtext(paired=True),  # what its configuration calls rope_type
    "levanter": (
        *_each(r"transformer\.layers\.stacked\.self_attn\.NAME\.weight\.0", _OWN_ATTENTION, order="oi", stacked=0),
        *_each(r"transformer\.layers\.stacked\.mlp\.NAME\.weight\.0", _OWN_MLP, order="oi", stacked=0),
        Rule(r"lm_head\.weight\.0", (HEAD,), "oi"),  # a named array is a pytree with one leaf, 0
    ),
}


def arrange(library: str | Mapping[str, str], params: Any, read: Read, masked: Mapping[str, int]) -> Any:
    """Returns a mask of the parameters' structure: bool arrays at masked leaves, True elsewhere.

    Args:
      library: a name of ``LIBRARIES``; or, for any other model, modules (``q_proj`` ... ``down_proj``) by the regular expression
        of the path of their kernels (in, out), with a group ``layer``.
      params: the library's parameters, a pytree; of an NNX module, ``nnx.state(module, nnx.Param)``.
      read: the masks.
      masked: number of layers by path of the masked kernels.

    Raises:
      InputError: if the library is unknown, a masked kernel has no leaf, or a leaf has another size.
    """
    rules = _rules(library)
    names, leaves = path_names(params), jax.tree.leaves(params)
    placed: set[tuple[str, int]] = set()
    arranged = [_leaf(name, leaf, rules, read, masked, placed) for name, leaf in zip(names, leaves, strict=True)]
    missing = sorted({(path, layer) for path, count in masked.items() for layer in range(count)} - placed)
    if missing:
        path, layer = missing[0]
        raise InputError(
            f"the parameters have no leaf for {path} of layer {layer} by the names of {_called(library)} "
            f"({len(missing)} missing); its leaves are {', '.join(names[:3])} ..."
        )
    return jax.tree.unflatten(jax.tree.structure(params), arranged)


def path_names(params: Any) -> list[str]:
    """Returns the paths of a pytree's leaves, such as ``blocks.0.up.kernel``, in their order."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return [_VALUE.sub("", jax.tree_util.keystr(path, simple=True, separator=".")) for path in paths]


def _called(library: str | Mapping[str, str]) -> str:
    return library if isinstance(library, str) else "the given paths"


def _rules(library: str | Mapping[str, str]) -> list[Rule]:
    if isinstance(library, str):
        if library not in LIBRARIES:
            raise InputError(f"library {library!r} is unknown; {nearest(library, LIBRARIES)}")
        return list(LIBRARIES[library])
    for path, module in library.items():
        if module not in MODULES:
            raise InputError(f"module {module!r} of path {path!r} is unknown; {nearest(module, MODULES)}")
        try:
            known = "layer" in re.compile(path).groupindex
        except re.error as error:
            raise InputError(f"path {path!r} is not a regular expression ({error})") from None
        if not known:
            raise InputError(rf"path {path!r} has no layer; write it as a group, (?P<layer>\d+)")
    return [Rule(path, (module,)) for path, module in library.items()]


def _leaf(name: str, leaf: Any, rules: list[Rule], read: Read, masked: Mapping[str, int], placed: set[tuple[str, int]]) -> Any:
    """Returns the mask of a leaf, and adds the kernels that it holds to ``placed``; True for a leaf without a mask."""
    for rule in rules:
        match = re.fullmatch(rule.path, name)
        if match is None:
            continue
        paths = [_path(module) for module in rule.modules]
        if rule.stacked is not None:
            layers = range(masked.get(paths[0], 0))
        else:
            layers = [int(match["layer"]) if "layer" in match.re.groupindex else 0]
        kernels = [[read(path, layer) for path in paths] for layer in layers]
        if all(kernel is None for parts in kernels for kernel in parts):
            return True
        placed |= {(path, layer) for path in paths for layer in layers}
        return jax.numpy.asarray(_stack(rule, kernels, tuple(leaf.shape), name))
    return True


def _path(module: str) -> str:
    if module == HEAD:
        return HEAD
    return f"layers/{'self_attn' if module in ATTENTION else 'mlp'}/{module}/kernel"


def _stack(rule: Rule, kernels: list[list[np.ndarray | None]], shape: tuple[int, ...], name: str) -> np.ndarray:
    """Returns the mask of a leaf from its kernels (in, out), [layer][module]."""
    inner = shape if rule.stacked is None else shape[: rule.stacked] + shape[rule.stacked + 1 :]
    inner = inner if len(rule.modules) == 1 else inner[1:]
    parts = [[_ordered(rule, kernel, inner, name) for kernel in layer] for layer in kernels]
    layers = [layer[0] if len(layer) == 1 else np.stack(layer) for layer in parts]
    arranged = layers[0] if rule.stacked is None else np.stack(layers, axis=rule.stacked)
    if arranged.shape != shape:
        raise InputError(f"{name} is {shape} in the parameters, the masks are {arranged.shape}; give the same model's")
    return arranged


def _ordered(rule: Rule, kernel: np.ndarray | None, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Returns one kernel's mask in the order and shape of a leaf."""
    if kernel is None:
        return np.ones(shape, bool)
    if kernel.size != np.prod(shape) or len(shape) < 2:
        raise InputError(f"{name} has kernels of {shape} in the parameters, the masks {kernel.shape}; give the same model's")
    if rule.order == "oi":
        return kernel.T.reshape(shape)
    if rule.order == "nid":
        heads, inputs, channels = shape
        return kernel.reshape(inputs, heads, channels).swapaxes(0, 1)
    split = kernel.reshape(shape)
    if not rule.paired:
        return split
    halves = split.reshape(*shape[:-1], 2, shape[-1] // 2)
    return halves.swapaxes(-1, -2).reshape(shape)
