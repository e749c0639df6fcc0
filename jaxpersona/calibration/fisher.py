"""Computes Kronecker factors of the Fisher information, and gradients, by backward passes over token batches.

In a layer y = x W, token t contributes x_t (dL/dy_t)' to the gradient. If inputs and output gradients were independent (K-FAC;
Martens and Grosse, 2015), the Fisher information of W would be E[x x'] times E[dL/dy dL/dy']. Only the diagonal of the latter is
computed.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.core.memory import return_freed_memory
from jaxpersona.core.mesh import pin_moments, pin_spread, place_rows
from jaxpersona.core.stage import QUIET, Stage, fold
from jaxpersona.core.tree import Params, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.log_probs import most_marked, next_log_probs, places_of
from jaxpersona.models.model import Model
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels

GROUP = 4
"""Batches per compiled program, after which a checkpoint is possible."""

Part = Literal["gradient", "factors"]
"""What a backward pass sums: the gradient of the objective, or Fisher factors. Both at once would take more memory."""

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


def collect(
    model: Model,
    batches: Sequence[Batch],
    shares: Sequence[np.ndarray],
    stage: Stage = QUIET,
    beside: Factors | None = None,
) -> Factors:
    """Runs the batches forward and backward; returns the Fisher factors.

    Args:
      batches: of one shape; factors are means over the tokens that ``Batch.weights`` count.
      shares: by batch, float32 [B, T]: L is the sum of the tokens' log-probabilities times their shares. Factors do not depend
        on the sign of a share.
      stage: progress counts groups of batches.
      beside: other factors. The result is the mean of both, in the memory of ``beside``, which cannot be used any more.
    """
    tokens = float(sum(batch.weights.max(axis=0).sum() for batch in batches))
    if beside is None:
        return Factors(**divided(_sum_over(model, batches, shares, "factors", stage), tokens))
    start = divided(dict(vars(beside)), 1 / tokens)  # a sum over as many tokens
    return Factors(**divided(_sum_over(model, batches, shares, "factors", stage, start), 2 * tokens))


def collect_gradient(model: Model, batches: Sequence[Batch], shares: Sequence[np.ndarray], stage: Stage = QUIET) -> Gradient:
    """Returns the gradient of L with respect to the kernels, summed over all tokens; arguments as for ``collect``."""
    return _sum_over(model, batches, shares, "gradient", stage)


def _sum_over(
    model: Model,
    batches: Sequence[Batch],
    shares: Sequence[np.ndarray],
    part: Part,
    stage: Stage,
    start: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the sums of ``_zero_sums`` over all batches, added to ``start``, which cannot be used any more."""
    mesh, (params, decoder) = model.mesh, model.with_head(model.params, outer_sums if part == "factors" else None)
    flat, counted = kernels(params), np.stack([batch.weights.max(axis=0) for batch in batches])
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    rows, most = place_rows((stacked, np.stack(shares), counted), mesh), most_shared(shares)

    def add(total: Any, group: range) -> Any:
        sums = total or start or _zero_sums(flat, part, mesh)
        return _sums(sums, flat, params, rows, (group.start, group.stop), decoder, part, most, mesh)

    groups = [range(len(batches))[start : start + GROUP] for start in range(0, len(batches), GROUP)]
    found = fold(groups, add, stage)
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
def _zero_sums(flat: Gradient, part: Part, mesh: Mesh | None) -> dict[str, Any]:
    """Returns zero sums: the kernels' gradient; or as factors x x' by site, and squared output gradients by kernel."""
    if part == "gradient":
        return _pinned({path: jnp.zeros(kernel.shape, jnp.float32) for path, kernel in flat.items()}, part, mesh)
    sites = {SITE_OF[module_of(path)]: (kernel.shape[0], kernel.shape[1], kernel.shape[1]) for path, kernel in flat.items()}
    inputs = {site: jnp.zeros(shape, jnp.float32) for site, shape in sites.items()}
    return _pinned({"inputs": inputs, "outputs": probes_of(flat)}, part, mesh)


@functools.partial(jax.jit, static_argnames=("decoder", "part", "most", "mesh"), donate_argnums=0)
def _sums(
    total: dict[str, Any],
    flat: Gradient,
    params: Params,
    rows: tuple[Batch, Any, Any],
    span: tuple[Any, Any],
    decoder: Decoder,
    part: Part,
    most: int,
    mesh: Mesh | None,
) -> dict[str, Any]:
    """Adds the sums over some batches to ``total``, in one program, so that model-sized buffers exist only once.

    On a mesh, XLA partitions it by the shardings of rows, kernels and sums: sums are sharded over all devices, and so are the
    kernels whose gradient is computed. XLA gathers one layer's kernels at a time and scatters its gradient (as FSDP does).

    Args:
      rows: stacked batches [batch, ..., B, T], their shares, and which of their tokens count.
      span: number of the first batch, and of the one after the last.
      most: from ``most_shared``.
    """
    flat = pin_spread(flat, mesh) if part == "gradient" else flat

    def add(number: jax.Array, total: dict[str, Any]) -> dict[str, Any]:
        batch = jax.tree.map(lambda leaf: leaf[number], rows)
        return jax.tree.map(jnp.add, total, _pinned(_batch_sums(decoder, part, most, flat, params, *batch), part, mesh))

    return jax.lax.fori_loop(*span, add, total)


def _pinned(sums: dict[str, Any], part: Part, mesh: Mesh | None) -> dict[str, Any]:
    """Constrains sums to shards over all devices, but for the small squared output gradients."""
    if part == "gradient":
        return pin_spread(sums, mesh)
    return {"inputs": pin_spread(sums["inputs"], mesh), "outputs": pin_moments(sums["outputs"], mesh)}


def _batch_sums(
    decoder: Decoder, part: Part, most: int, flat: Gradient, params: Params, batch: Batch, shares: Any, counted: Any
) -> dict[str, Any]:
    def objective(probes: Gradient, flat: Gradient) -> tuple[jax.Array, Any]:
        merged = with_kernels(params, flat)
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": counted[None]}
        variables = {"params": merged, "probes": at_outputs(probes)}
        hidden, state = decoder.apply(variables, batch.tokens, **inputs, mutable=["stats"], method="hidden")
        return shared_log_probs(decoder, merged, jnp.asarray(hidden), batch, shares, most), by_site(state)

    argument = 1 if part == "gradient" else 0
    gradient, inputs = jax.grad(objective, argnums=argument, has_aux=True)(probes_of(flat), flat)
    return in_float32(gradient) if part == "gradient" else dict(vars(factor_sums(inputs, gradient)))


def most_shared(shares: Sequence[np.ndarray]) -> int:
    """Returns the largest number of tokens with a nonzero share in a row, rounded as ``most_marked`` does."""
    return most_marked([share != 0 for share in shares])


def shared_log_probs(
    decoder: Decoder, params: Params, hidden: jax.Array, batch: Batch, shares: jax.Array, most: int
) -> jax.Array:
    """Returns L from final hidden states [B, T, hidden] and shares [B, T].

    Args:
      most: maximum number of tokens with a share in a row; the head is evaluated at this many positions per row.
    """
    places = places_of(shares != 0, most)
    log_probs = next_log_probs(decoder, params, hidden, batch, places)
    return jnp.sum(log_probs * jnp.take_along_axis(jnp.asarray(shares), places, axis=1))


def probes_of(flat: Gradient) -> Gradient:
    """Returns zeros, float32 [layer, out] by kernel path.

    The gradient with respect to them is the sum over tokens of squared gradients at the kernel's outputs.
    """
    return {path: jnp.zeros((kernel.shape[0], kernel.shape[2]), jnp.float32) for path, kernel in flat.items()}


def at_outputs(probes: Gradient) -> dict[str, Any]:
    """Returns the decoder's ``probes`` collection from probes by kernel path."""
    return unflatten({path.replace("/kernel", "/output"): probe for path, probe in probes.items()})


def factor_sums(inputs: Any, by_probes: Gradient) -> Factors:
    """Returns a batch's factor sums from x x' [layer, 1, in, in] by site and the gradient with respect to the probes."""
    return Factors({site: value[:, 0] for site, value in inputs.items()}, by_probes)


def in_float32(gradient: Gradient) -> Gradient:
    """Returns the gradient in float32, in which sums over batches are accurate."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradient)
