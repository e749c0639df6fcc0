"""Differentiates one layer, or the head: the steps of a backward pass that keeps only the input of each layer.

The pass recomputes a layer from its input, so memory does not grow with what a layer computes. What it sums it adds up layer by
layer: no batch's gradient is ever as large as the model.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.tree import Params, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.log_probs import most_marked, next_log_probs, places_of
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels

Part = Literal["gradient", "inputs", "outputs"]
"""Of what a backward pass sums: the gradient with respect to the kernels, float32 [layer, in, out] by path; x x' of their inputs
[layer, in, in] by site; squared gradients at their outputs [layer, out] by path."""
GRADIENT: tuple[Part, ...] = ("gradient",)
FACTORS: tuple[Part, ...] = ("inputs", "outputs")

Sums = dict[Part, dict[str, jax.Array]]
"""Sums over tokens, by part."""


def zero_sums(flat: dict[str, jax.Array], parts: tuple[Part, ...]) -> Sums:
    """Returns zeros for the sums of kernels [layer, in, out] by path."""
    shapes: dict[Part, dict[str, tuple[int, ...]]] = {
        "gradient": {path: kernel.shape for path, kernel in flat.items()},
        "inputs": {SITE_OF[module_of(path)]: (kernel.shape[0], *2 * kernel.shape[1:2]) for path, kernel in flat.items()},
        "outputs": {path: (kernel.shape[0], kernel.shape[2]) for path, kernel in flat.items()},
    }
    return {part: {name: jnp.zeros(shape, jnp.float32) for name, shape in shapes[part].items()} for part in parts}


def most_shared(shares: Sequence[np.ndarray]) -> int:
    """Returns the largest number of tokens with a nonzero share in a row, rounded as ``most_marked`` does."""
    return most_marked([share != 0 for share in shares])


def head_gradient(decoder: Decoder, most: int, params: Params, x: jax.Array, batch: Batch, shares: jax.Array) -> jax.Array:
    """Returns the gradient of the objective, the sum of the tokens' log-probabilities times their shares.

    Args:
      decoder: of the model.
      most: maximum number of tokens with a share in a row; the head is evaluated at this many positions per row.
      params: at least those of the final norm and the head.
      x: residual stream after the last layer, [B, T, hidden]; the gradient is with respect to it.
      batch: the tokens.
      shares: float32 [B, T].
    """
    places = places_of(shares != 0, most)
    weights = jnp.take_along_axis(jnp.asarray(shares), places, axis=1)

    def objective(x: jax.Array) -> jax.Array:
        hidden = jnp.asarray(decoder.apply({"params": params}, x, method="normed"))
        return jnp.sum(next_log_probs(decoder, params, hidden, batch, places) * weights)

    return jax.grad(objective)(x)


def layer_sums(
    decoder: Decoder, parts: tuple[Part, ...], params: Params, x: Any, is_sliding: Any, batch: Batch, gradient: Any
) -> tuple[jax.Array, Sums]:
    """Returns the gradient with respect to a layer's input, and the layer's sums.

    Args:
      decoder: collects ``outer_sums`` if ``parts`` has inputs.
      parts: to sum.
      params: of the layer, kernels [1, in, out].
      x: the layer's input, [B, T, hidden].
      is_sliding: bool [1].
      batch: the tokens. Those that ``Batch.weights`` count are summed in x x'.
      gradient: with respect to the layer's output, [B, T, hidden].
    """
    flat, whole = kernels(params), decoder.clone(recompute=False)  # what one layer computes is little

    def layer(x: jax.Array, probes: dict[str, jax.Array], flat: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
        variables = {"params": with_kernels(params, flat), "probes": unflatten(probes)}
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": counted(batch)[None]}
        out, state = whole.apply(variables, x, is_sliding, **inputs, mutable=["stats"], method="through")
        return jnp.asarray(out), by_site(state)

    probes = {path.replace("/kernel", "/output"): zeros for path, zeros in zero_sums(flat, ("outputs",))["outputs"].items()}
    _, vjp, inputs = jax.vjp(layer, x, probes, flat, has_aux=True)
    wrt_x, wrt_probes, wrt_kernels = vjp(gradient)
    sums: Sums = {
        "gradient": {path: leaf.astype(jnp.float32) for path, leaf in wrt_kernels.items()},
        "inputs": {site: of_site[:, 0] for site, of_site in inputs.items()},
        "outputs": {path: wrt_probes[path.replace("/kernel", "/output")] for path in flat},
    }
    return wrt_x, {part: sums[part] for part in parts}


def counted(batch: Batch) -> Any:
    """Returns which tokens count for either persona, float32 [B, T]."""
    return batch.weights.max(axis=0)
