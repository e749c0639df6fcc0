"""Collects Hessians: full second moments of activations, E h h^T, for pruning with the inverse Hessian."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxpersona.calibration.moments import token_means
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.packing import Batch
from jaxpersona.models.model import Model
from jaxpersona.models.sites import SITE_OF, module_of

Hessians = dict[str, jax.Array]
"""Float32 [layer, persona, channel, channel] by site."""


def outer_sums(h: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns sums over tokens of h h^T, float32 [P, C, C], from activations [B, T, C] and token weights 0 or 1 [P, B, T]."""
    weighted = (h * weights[..., None]).astype(h.dtype)
    return jnp.einsum("pbtc,btd->pcd", weighted, h, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def collect(model: Model, batches: Sequence[Batch], stage: Stage = QUIET) -> Hessians:
    """Runs the batches through the model and returns E h h^T of each persona over the tokens that count.

    The Hessians of all L layers take 8 L C^2 bytes per site for two personas, and three times that while a batch is added. That
    is 0.8 GB for the 30 layers of SmolLM2-135M, and 65 GB for a Llama of 8 billion parameters.

    Args:
      batches: from ``pack``.
      stage: progress counts batches.
    """
    return token_means(model, batches, outer_sums, stage)[0]


def hessian_of(hessians: Hessians, path: str, persona: int) -> jax.Array:
    """Returns E h h^T of a kernel's inputs for one persona, float32 [layer, in, in]."""
    return hessians[SITE_OF[module_of(path)]][:, persona]
