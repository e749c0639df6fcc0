"""Which linear layers can be masked, and at which of the four sites each reads its input."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import Params, flatten, unflatten

SITES = {
    "attn_in": ("q_proj", "k_proj", "v_proj"),
    "attn_out_in": ("o_proj",),
    "mlp_in": ("gate_proj", "up_proj"),
    "mlp_out_in": ("down_proj",),
}
"""Modules that share an input are recorded once: four statistics per layer serve seven kernels."""

SiteSums = Callable[[int, Any], dict[str, Any]]
"""Returns the sums of a batch over its tokens, given its number and itself: [layer, persona, ...] by site."""

HEAD = "lm_head/kernel"
"""Path of the head's kernel [in, out], where it has weights of its own; masked only if a protocol asks for it."""
HEAD_SITE = "head_in"
SITE_OF = {module: site for site, modules in SITES.items() for module in modules}
ATTENTION = SITES["attn_in"] + SITES["attn_out_in"]
MLP = SITES["mlp_in"] + SITES["mlp_out_in"]
MODULES = ATTENTION + MLP


def module_of(path: str) -> str:
    """The module a kernel belongs to.

    >>> module_of("layers/self_attn/q_proj/kernel")
    'q_proj'
    """
    return path.split("/")[-2]


def kernels(params: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The maskable kernels [layer, in, out] of a parameter tree, by path; no embeddings, norms, biases, or head."""
    leaves = flatten(params)
    return {path: leaf for path, leaf in leaves.items() if path.endswith("/kernel") and module_of(path) in SITE_OF}


def with_kernels(params: Mapping[str, Any], replaced: Mapping[str, jax.Array]) -> dict[str, Any]:
    """The parameter tree with other kernels at the paths of ``replaced``."""
    return unflatten({**flatten(params), **replaced})


def kernels_and_head(params: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The maskable kernels, and the head as one more of a single layer [1, in, out] where it has weights of its own."""
    leaves = flatten(params)
    return kernels(params) | ({HEAD: leaves[HEAD][None]} if HEAD in leaves else {})


def check_steerable(params: Params) -> None:
    """Refuses models with a norm between MLP and residual stream, where a steering vector is no bias.

    Raises:
      InputError: for such a model (Gemma).
    """
    if "post_feedforward_layernorm" in params["layers"]:
        raise InputError("steering is not possible in Gemma models here: a norm stands between their MLP and the residual stream")
