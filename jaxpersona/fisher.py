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

from jaxpersona.data.packing import Batch
from jaxpersona.distributed import add_over_rows, pin_moments, pin_parameters, place_rows
from jaxpersona.hessians import outer_sums
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.model import Model
from jaxpersona.models.sites import kernels, with_kernels
from jaxpersona.models.weights import Params
from jaxpersona.progress import Progress, silent
from jaxpersona.resume import NOTHING, Checkpoint, summed
from jaxpersona.scoring import next_log_probs
from jaxpersona.tree import unflatten

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
    progress: Progress = silent,
    checkpoint: Checkpoint = NOTHING,
) -> tuple[Gradient | None, Factors]:
    """Runs the batches forward and backward.

    Args:
      batches: of one shape; the tokens that count (``Batch.weights``) make the means.
      shares: by batch, float32 [B, T]: L is the sum of the tokens' log-probabilities times their shares. Factors do not depend
        on the sign of a share.
      gradient: whether the gradient of L by the kernels, summed over all tokens, is asked for as well.
      progress: called with (batches done, batches in all).
      checkpoint: keeps the sums so far.
    """
    decoder, flat, mesh = Decoder(model.config, outer_sums), kernels(model.params), model.mesh

    def sums(item: tuple[Batch, np.ndarray]) -> dict[str, Any]:
        batch, share = item
        rows = place_rows((batch, share, batch.weights.max(axis=0)), mesh)
        slope, factors = _sums(flat, model.params, *rows, decoder, gradient, mesh)
        return {"factors": dict(vars(factors))} | ({"gradient": slope} if gradient else {})

    tokens = float(sum(batch.weights.max(axis=0).sum() for batch in batches))
    total = summed(list(zip(batches, shares, strict=True)), sums, checkpoint, progress, _add)
    return total.get("gradient"), Factors(**jax.tree.map(lambda leaf: leaf / tokens, total["factors"]))


@functools.partial(jax.jit, donate_argnums=0)
def _add(total: Any, new: Any) -> Any:
    return jax.tree.map(jnp.add, total, new)


@functools.partial(jax.jit, static_argnames=("decoder", "gradient", "mesh"))
def _sums(
    flat: Gradient,
    params: Params,
    batch: Batch,
    shares: Any,
    counted: Any,
    decoder: Decoder,
    gradient: bool,
    mesh: Mesh | None,
) -> tuple[Gradient | None, Factors]:
    """Sums over a batch: gradient by the kernels, x x' at the sites, squared gradients at the outputs."""
    local = functools.partial(_local_sums, decoder, gradient)
    slope, factors = add_over_rows(local, mesh, (flat, params), (batch, shares, counted))
    return slope and pin_parameters(slope, mesh), pin_moments(factors, mesh)


def _local_sums(
    decoder: Decoder, gradient: bool, flat: Gradient, params: Params, batch: Batch, shares: Any, counted: Any
) -> tuple[Gradient | None, Factors]:
    def objective(probes: Gradient, flat: Gradient) -> tuple[jax.Array, Any]:
        whole = with_kernels(params, flat)
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": counted[None]}
        variables = {"params": whole, "probes": at_outputs(probes)}
        hidden, state = decoder.apply(variables, batch.tokens, **inputs, mutable=["stats"], method="hidden")
        return jnp.sum(next_log_probs(decoder, whole, hidden, batch) * shares), by_site(state)

    by, inputs = jax.grad(objective, argnums=(0, 1) if gradient else (0,), has_aux=True)(probes_of(flat), flat)
    return (in_float32(by[1]) if gradient else None), factor_sums(inputs, by[0])


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
