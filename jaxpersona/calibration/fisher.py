"""Computes Kronecker factors of the Fisher information, and gradients, by backward passes over token batches.

In a layer y = x W, token t contributes x_t (dL/dy_t)' to the gradient. If inputs and output gradients were independent (K-FAC;
Martens and Grosse, 2015), the Fisher information of W would be E[x x'] times E[dL/dy dL/dy']. Only the diagonal of the latter is
computed.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpersona.calibration.backward import (
    FACTORS,
    GRADIENT,
    Part,
    Sums,
    counted,
    head_gradient,
    layer_sums,
    most_shared,
    zero_sums,
)
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.core.memory import return_freed_memory
from jaxpersona.core.mesh import pin_moments, pin_spread, place_rows
from jaxpersona.core.stage import QUIET, Stage, fold
from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import Model
from jaxpersona.models.sites import kernels

Gradient = dict[str, jax.Array]
"""[layer, in, out] by kernel path; float32 while it is summed."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Factors:
    """Kronecker factors of the Fisher information per token.

    Attributes:
      inputs: E[x x'], float32 [layer, in, in] by site.
      outputs: E[(dL/dy)^2], float32 [layer, out] by kernel path.
    """

    inputs: dict[str, jax.Array]
    outputs: dict[str, jax.Array]


def collect(model: Model, batches: Sequence[Batch], shares: Sequence[np.ndarray], stage: Stage = QUIET) -> Factors:
    """Runs the batches forward and backward; returns the Fisher factors.

    Args:
      batches: of one shape; factors are means over the tokens that ``Batch.weights`` count.
      shares: by batch, float32 [B, T]: L is the sum of the tokens' log-probabilities times their shares. Factors do not depend
        on the sign of a share.
      stage: progress counts batches.
    """
    return Factors(**divided(_sum_over(model, batches, shares, FACTORS, stage), _tokens(batches)))


def collect_gradient(model: Model, batches: Sequence[Batch], shares: Sequence[np.ndarray], stage: Stage = QUIET) -> Gradient:
    """Returns the gradient of L with respect to the kernels, summed over all tokens; arguments as for ``collect``."""
    return _sum_over(model, batches, shares, GRADIENT, stage)["gradient"]


def collect_both(
    model: Model, batches: Sequence[Batch], shares: Sequence[np.ndarray], beside: Factors, stage: Stage = QUIET
) -> tuple[Gradient, Factors]:
    """Returns ``collect_gradient``, and the mean of ``collect`` and other factors, from one pass.

    Args:
      model: runs forward and backward.
      batches: as for ``collect``.
      shares: as for ``collect``.
      beside: the other factors, whose memory the result takes; they cannot be used any more.
      stage: progress counts batches.
    """
    tokens = _tokens(batches)
    start = divided(dict(vars(beside)), 1 / tokens)  # a sum over as many tokens
    sums = _sum_over(model, batches, shares, GRADIENT + FACTORS, stage, start)
    return sums.pop("gradient"), Factors(**divided(sums, 2 * tokens))


def _tokens(batches: Sequence[Batch]) -> float:
    return float(sum(counted(batch).sum() for batch in batches))


def _sum_over(
    model: Model,
    batches: Sequence[Batch],
    shares: Sequence[np.ndarray],
    parts: tuple[Part, ...],
    stage: Stage,
    start: Sums | None = None,
) -> Sums:
    """Returns the sums of ``parts`` over all batches, added to those in ``start``, which cannot be used any more."""
    mesh, (params, decoder) = model.mesh, model.with_head(model.params, outer_sums if "inputs" in parts else None)
    most = most_shared(shares)

    def add(total: Sums | None, number: int) -> Sums:
        if total is None:
            missing = tuple(part for part in parts if part not in (start or {}))
            total = _zeros(kernels(params), missing, mesh) | (start or {})
        rows = place_rows((batches[number], shares[number]), mesh)
        return _with_batch(total, params, *rows, decoder, most, mesh)

    found = fold(range(len(batches)), add, stage)
    return_freed_memory()  # one pass leaves up to 0.4 GB of Gemma 3 270M to the next
    return found


@functools.partial(jax.jit, donate_argnums=0)
def divided(tree: Any, divisor: float) -> Any:
    """Returns a pytree of arrays divided by a number, in the memory of ``tree``, which cannot be used any more."""
    return jax.tree.map(lambda leaf: leaf / divisor, tree)


@jax.jit
def rounded_mean(gradient: Gradient, divisor: float) -> Gradient:
    """Returns a summed gradient divided by a number, as bfloat16: half the memory, and rounding is far below sampling noise."""
    return jax.tree.map(lambda leaf: (leaf / divisor).astype(jnp.bfloat16), gradient)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _zeros(flat: Gradient, parts: tuple[Part, ...], mesh: Mesh | None) -> Sums:
    return _pinned(zero_sums(flat, parts), mesh)


@functools.partial(jax.jit, static_argnames=("decoder", "most", "mesh"), donate_argnums=0)
def _with_batch(total: Sums, params: Params, batch: Batch, shares: Any, decoder: Decoder, most: int, mesh: Mesh | None) -> Sums:
    """Adds the sums over a batch to ``total``, layer by layer in its memory.

    On a mesh, XLA partitions it by the shardings of rows, kernels and sums. Sums are sharded over all devices: one layer's at a
    time is scattered, as in FSDP.
    """
    parts: tuple[Part, ...] = tuple(total)
    flags, places = jnp.asarray(decoder.config.is_sliding), {"positions": batch.positions, "visible": batch.visible()}

    def layer(number: Any) -> tuple[Params, jax.Array]:
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=number, slice_size=1)
        return {"layers": jax.tree.map(cut, params["layers"])}, cut(flags)

    def forward(x: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_layer, flag = layer(number)
        return jnp.asarray(decoder.apply({"params": of_layer}, x, flag, **places, method="through")), x

    def backward(step: jax.Array, carry: tuple[jax.Array, Sums]) -> tuple[jax.Array, Sums]:
        gradient, total = carry
        number = len(flags) - 1 - step
        of_layer, flag = layer(number)
        gradient, sums = layer_sums(decoder, parts, of_layer, inputs[number], flag, batch, gradient)
        return gradient, jax.tree.map(lambda whole, new: whole.at[number].add(new[0]), total, _pinned(sums, mesh))

    x = jnp.asarray(decoder.apply({"params": params}, batch.tokens, method="embed"))
    x, inputs = jax.lax.scan(forward, x, jnp.arange(len(flags)))
    gradient = head_gradient(decoder, most, params, x, batch, shares)
    return jax.lax.fori_loop(0, len(flags), backward, (gradient, total))[1]


def _pinned(sums: Sums, mesh: Mesh | None) -> Sums:
    """Constrains sums to shards over all devices, but for the small squared output gradients."""
    pins = {"gradient": pin_spread, "inputs": pin_spread, "outputs": pin_moments}
    return {part: pins[part](of_part, mesh) for part, of_part in sums.items()}
