"""Kronecker factors of the Fisher information, and gradients, from one backward pass over token batches.

A layer y = x W adds x_t (dL/dy_t)' to the gradient of a token t. If inputs and output gradients were independent (K-FAC; Martens
and Grosse, 2015), the Fisher information of W would be E[x x'] times E[dL/dy dL/dy']. Of the latter the diagonal is kept.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.core.mesh import add_over_rows, pin_moments, pin_parameters, place_rows, row_multiple
from jaxpersona.core.stage import QUIET, Stage, fold
from jaxpersona.core.tree import Params, unflatten
from jaxpersona.data.packing import Batch
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.log_probs import most_marked, next_log_probs, places_of
from jaxpersona.models.model import Model
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels

GROUP = 4
"""Batches in one program, after which devices that share rows add up their sums."""

Gradient = dict[str, jax.Array]
"""Float32 [layer, in, out] by kernel path."""


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
    gradient: bool,
    stage: Stage = QUIET,
) -> tuple[Gradient | None, Factors]:
    """Runs the batches forward and backward; returns the gradient of L, and the Fisher factors.

    Args:
      batches: of one shape; the tokens that count (``Batch.weights``) make the means.
      shares: by batch, float32 [B, T]: L is the sum of the tokens' log-probabilities times their shares. Factors do not depend
        on the sign of a share.
      gradient: whether to return the gradient of L with respect to the kernels, summed over all tokens.
      stage: progress counts groups of batches.
    """
    mesh, (params, decoder) = model.mesh, model.with_head(model.params, outer_sums)
    flat, counted = kernels(params), np.stack([batch.weights.max(axis=0) for batch in batches])
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    rows, most = place_rows((stacked, np.stack(shares), counted), mesh), most_shared(shares)

    def add(total: Any, group: range) -> Any:
        total = _nothing(flat, gradient, mesh) if total is None else total
        return _sums(total, flat, params, rows, (group.start, group.stop), decoder, most, mesh)

    groups = [range(len(batches))[start : start + GROUP] for start in range(0, len(batches), GROUP)]
    total = fold(groups, add, stage)
    tokens = float(counted.sum())
    return total.get("gradient"), Factors(**jax.tree.map(lambda leaf: leaf / tokens, total["factors"]))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _nothing(flat: Gradient, gradient: bool, mesh: Mesh | None) -> dict[str, Any]:
    """Sums over no batch: squared gradients at the outputs, x x' at the sites, and the gradient by the kernels if asked for."""
    sites = {SITE_OF[module_of(path)]: (kernel.shape[0], kernel.shape[1], kernel.shape[1]) for path, kernel in flat.items()}
    inputs = {site: jnp.zeros(shape, jnp.float32) for site, shape in sites.items()}
    slope = {"gradient": {path: jnp.zeros(kernel.shape, jnp.float32) for path, kernel in flat.items()}} if gradient else {}
    return _pinned({"factors": {"inputs": inputs, "outputs": probes_of(flat)}, **slope}, mesh)


@functools.partial(jax.jit, static_argnames=("decoder", "most", "mesh"), donate_argnums=0)
def _sums(
    total: dict[str, Any],
    flat: Gradient,
    params: Params,
    rows: tuple[Batch, Any, Any],
    span: tuple[Any, Any],
    decoder: Decoder,
    most: int,
    mesh: Mesh | None,
) -> dict[str, Any]:
    """``total`` and the sums over some batches, in one program: memory as large as the model is then taken only once.

    Args:
      rows: batches [batch, ..., B, T], their shares, and which of their tokens count.
      span: number of the first batch, and of the one after the last.
      most: as ``most_shared`` says.
    """
    local = functools.partial(_local_sums, decoder, most)
    alone = row_multiple(mesh) == 1
    start = total if alone else jax.tree.map(jnp.zeros_like, total)  # or each of the devices that share the rows would add it
    found = add_over_rows(local, mesh, (start, flat, params, span), rows)
    return _pinned(found if alone else jax.tree.map(jnp.add, total, found), mesh)


def _pinned(sums: dict[str, Any], mesh: Mesh | None) -> dict[str, Any]:
    slope = {"gradient": pin_parameters(sums["gradient"], mesh)} if "gradient" in sums else {}
    return {"factors": pin_moments(sums["factors"], mesh), **slope}


def _local_sums(
    decoder: Decoder, most: int, total: dict[str, Any], flat: Gradient, params: Params, span: tuple[Any, Any], *rows: Any
) -> dict[str, Any]:
    def add(number: jax.Array, total: dict[str, Any]) -> dict[str, Any]:
        batch = jax.tree.map(lambda leaf: leaf[number], rows)
        return jax.tree.map(jnp.add, total, _batch_sums(decoder, most, "gradient" in total, flat, params, *batch))

    return jax.lax.fori_loop(span[0], span[1], add, total)


def _batch_sums(
    decoder: Decoder, most: int, gradient: bool, flat: Gradient, params: Params, batch: Batch, shares: Any, counted: Any
) -> dict[str, Any]:
    def objective(probes: Gradient, flat: Gradient) -> tuple[jax.Array, Any]:
        whole = with_kernels(params, flat)
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": counted[None]}
        variables = {"params": whole, "probes": at_outputs(probes)}
        hidden, state = decoder.apply(variables, batch.tokens, **inputs, mutable=["stats"], method="hidden")
        return shared_log_probs(decoder, whole, jnp.asarray(hidden), batch, shares, most), by_site(state)

    by, inputs = jax.grad(objective, argnums=(0, 1) if gradient else (0,), has_aux=True)(probes_of(flat), flat)
    return {"factors": dict(vars(factor_sums(inputs, by[0])))} | ({"gradient": in_float32(by[1])} if gradient else {})


def most_shared(shares: Sequence[np.ndarray]) -> int:
    """Tokens with a share in the row that has most of them, as ``most_marked`` counts them."""
    return most_marked([share != 0 for share in shares])


def shared_log_probs(
    decoder: Decoder, params: Params, hidden: jax.Array, batch: Batch, shares: jax.Array, most: int
) -> jax.Array:
    """L, from final hidden states [B, T, hidden] and shares [B, T]; the head reads ``most`` tokens a row, and no row has more."""
    places = places_of(shares != 0, most)
    log_probs = next_log_probs(decoder, params, hidden, batch, places)
    return jnp.sum(log_probs * jnp.take_along_axis(jnp.asarray(shares), places, axis=1))


def probes_of(flat: Gradient) -> Gradient:
    """Zeros float32 [layer, out] by kernel path: the gradient by them is the sum of squared gradients at the kernel's outputs."""
    return {path: jnp.zeros((kernel.shape[0], kernel.shape[2]), jnp.float32) for path, kernel in flat.items()}


def at_outputs(probes: Gradient) -> dict[str, Any]:
    """The decoder's ``probes`` collection, of probes by kernel path."""
    return unflatten({path.replace("/kernel", "/output"): probe for path, probe in probes.items()})


def factor_sums(inputs: Any, by_probes: Gradient) -> Factors:
    """Factors summed over a batch, from x x' [layer, 1, in, in] by site and the gradient by the probes."""
    return Factors({site: value[:, 0] for site, value in inputs.items()}, by_probes)


def in_float32(gradient: Gradient) -> Gradient:
    """A gradient wide enough to be added up."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradient)
