"""Maskable linear layers, and the four sites in a decoder layer that hold their inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxpersona.core.tree import flatten, unflatten

SITES = {
    "attn_in": ("q_proj", "k_proj", "v_proj"),
    "attn_out_in": ("o_proj",),
    "mlp_in": ("gate_proj", "up_proj"),
    "mlp_out_in": ("down_proj",),
}
"""Modules by site. Modules with the same input share a site, so four statistics per layer serve seven kernels."""

SiteSums = Callable[[int, Any], dict[str, Any]]
"""Takes a batch's number and the batch; returns its sums over tokens, [layer, persona, ...] by site."""

HEAD = "lm_head/kernel"
"""Path of the head's kernel [in, out] if the head is not tied; masked only if the protocol masks it."""
HEAD_SITE = "head_in"
SITE_OF = {module: site for site, modules in SITES.items() for module in modules}
ATTENTION = SITES["attn_in"] + SITES["attn_out_in"]
MLP = SITES["mlp_in"] + SITES["mlp_out_in"]
MODULES = ATTENTION + MLP


def module_of(path: str) -> str:
    """Returns the module of a kernel's path.

    >>> module_of("layers/self_attn/q_proj/kernel")
    'q_proj'
    """
    return path.split("/")[-2]


def kernels(params: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Returns the maskable kernels [layer, in, out] of a parameter tree by path, without embeddings, norms, biases and head."""
    leaves = flatten(params)
    return {path: leaf for path, leaf in leaves.items() if path.endswith("/kernel") and module_of(path) in SITE_OF}


def with_kernels(params: Mapping[str, Any], replaced: Mapping[str, jax.Array]) -> dict[str, Any]:
    """Returns the parameter tree with the kernels at the paths of ``replaced`` replaced."""
    return unflatten({**flatten(params), **replaced})


def kernels_and_head(params: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Returns the maskable kernels by path, with an untied head as a kernel of a single layer [1, in, out]."""
    leaves = flatten(params)
    return kernels(params) | ({HEAD: leaves[HEAD][None]} if HEAD in leaves else {})
