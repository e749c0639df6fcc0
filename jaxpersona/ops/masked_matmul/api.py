"""One interface to the masked product, whatever it runs on.

Row r of x goes through the weights of its persona p(r): y[r] = x[r] @ ((M_p + gamma (1 - M_p)) * W) (Eq. 6 and 7), for all rows
of a batch at once, from one copy of W and one bit per weight and persona.
"""

import functools
import logging
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError
from jaxpersona.ops.bitpack import word_rows
from jaxpersona.ops.masked_matmul import pallas_gpu, pallas_tpu, xla
from jaxpersona.ops.masked_matmul.block_sizes import Blocks, blocks_for

Array = jax.Array
Implementation = Literal["auto", "xla", "tpu", "gpu"]
IMPLEMENTATIONS = ("auto", "xla", "tpu", "gpu")
_KERNELS = {"tpu": pallas_tpu, "gpu": pallas_gpu}
_log = logging.getLogger(__name__)


def masked_matmul(
    x: Array,
    w: Array,
    masks: Array,
    persona_ids: Array | None = None,
    gamma: float | Array = 0.0,
    *,
    implementation: Implementation = "auto",
    blocks: Blocks | None = None,
) -> Array:
    """The product of rows with the weights of each row's persona.

    A removed weight is left out bit by bit, so NaN or infinity in it reaches no row of a persona that removes it; at gamma above
    0 the bare weights count, as they should. Differentiable by x, w and gamma (where it is above 0); the
    gradient is that of the XLA implementation.

    Args:
      x: [..., K], float32 or bfloat16.
      w: [K, N], of the dtype of x.
      masks: uint16 [P, word_rows(K), N], packed as ``bitpack.pack`` does; or [word_rows(K), N], one persona for all rows.
      persona_ids: int, shaped as x without its last axis or without more of its trailing ones (an id for each sequence then); an
        id outside [0, P) gives rows of zeros at gamma 0. Left out for a single mask.
      gamma: share of its strength a removed weight keeps, in [0, 1]; a number, or an array shaped as ``persona_ids``. The number
        0 spares the product with the bare weights.
      implementation: ``auto`` is the Pallas kernel of the platform the code is lowered for where there is one and it takes the
        operands, otherwise XLA; or ``xla``, ``tpu``, ``gpu``.
      blocks: block sizes of the Pallas kernel; by default those of ``blocks.py`` for the device.

    Returns:
      [..., N] of the dtype of x; summed in float32.

    Raises:
      InputError: for shapes or dtypes that do not fit together, or when the implementation asked for refuses the operands.
    """
    words = masks[None] if masks.ndim == 2 else masks
    _check(x, w, words, persona_ids, masks.ndim == 2, gamma)
    if implementation not in IMPLEMENTATIONS:
        raise InputError(f"implementation {implementation!r} is unknown; known: {', '.join(IMPLEMENTATIONS)}")
    ids = jnp.zeros(x.shape[:1] if x.ndim > 1 else (), jnp.int32) if persona_ids is None else jnp.asarray(persona_ids, jnp.int32)
    sequences = math.prod(ids.shape)
    soft = None if isinstance(gamma, int | float) and gamma == 0 else jnp.asarray(gamma, jnp.float32)
    if soft is not None:
        soft = jnp.broadcast_to(soft, ids.shape).reshape(sequences)
    flat = x.reshape(sequences, -1, x.shape[-1])
    y = _multiply(implementation, blocks, flat, w, words, ids.reshape(sequences), soft)
    return y.reshape(*x.shape[:-1], w.shape[1])


def _check(x: Array, w: Array, words: Array, ids: Array | None, single: bool, gamma: float | Array) -> None:
    if x.dtype != w.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype} and w {w.dtype}; masked_matmul wants one floating dtype")
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise InputError(f"x {x.shape} and w {w.shape} do not fit; masked_matmul wants [..., K] and [K, N]")
    wanted = (word_rows(w.shape[0]), w.shape[1])
    if words.dtype != jnp.uint16 or words.ndim != 3 or words.shape[1:] != wanted:
        raise InputError(f"masks are {words.dtype} {words.shape}; w {w.shape} wants uint16 [personas, {wanted[0]}, {wanted[1]}]")
    if ids is None and not single:
        raise InputError("masks of several personas need persona_ids")
    if (ids is not None and jnp.shape(ids) != x.shape[: jnp.ndim(ids)]) or (ids is not None and jnp.ndim(ids) >= x.ndim):
        raise InputError(f"persona_ids are {jnp.shape(ids)}; x {x.shape} wants them shaped as its leading axes")
    if isinstance(gamma, int | float) and not 0 <= gamma <= 1:
        raise InputError(f"gamma is {gamma}; it must lie in [0, 1]")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _multiply(
    implementation: str, blocks: Blocks | None, x: Array, w: Array, words: Array, ids: Array, gamma: Array | None
) -> Array:
    """x [B, T, K], w [K, N], words [P, ., N], ids [B], gamma [B] or None; returns [B, T, N]."""
    choices = {}
    for platform in _KERNELS if implementation == "auto" else {implementation} - {"xla"}:
        reason = _KERNELS[platform].refusal(x, w)
        if reason is None:
            choices[platform] = functools.partial(_by_rows, platform, blocks)
        elif implementation != "auto":
            raise InputError(f"{reason}; use implementation xla")
        else:
            _log.info("masked_matmul uses XLA: %s", reason)
    if implementation in choices:
        return choices[implementation](x, w, words, ids, gamma)
    by_platform = {{"tpu": "tpu", "gpu": "cuda"}[name]: choice for name, choice in choices.items()}
    return jax.lax.platform_dependent(x, w, words, ids, gamma, default=xla.multiply, **by_platform)


def _by_rows(platform: str, blocks: Blocks | None, x: Array, w: Array, words: Array, ids: Array, gamma: Array | None) -> Array:
    batch, length, _ = x.shape
    rows = x.reshape(batch * length, -1)
    ids, gamma = jnp.repeat(ids, length), None if gamma is None else jnp.repeat(gamma, length)
    y = _KERNELS[platform].multiply(rows, w, words, ids, gamma, blocks or blocks_for(platform))
    return y.reshape(batch, length, -1)


def _forward(implementation: str, blocks: Blocks | None, *operands: Array) -> tuple[Array, tuple[Array, ...]]:
    return _multiply(implementation, blocks, *operands), operands


def _backward(implementation: str, blocks: Blocks | None, operands: tuple[Array, ...], cotangent: Array) -> tuple:
    x, w, words, ids, gamma = operands
    if gamma is None:
        dx, dw = jax.vjp(lambda x, w: xla.multiply(x, w, words, ids, None), x, w)[1](cotangent)
        return dx, dw, None, None, None
    dx, dw, dgamma = jax.vjp(lambda x, w, gamma: xla.multiply(x, w, words, ids, gamma), x, w, gamma)[1](cotangent)
    return dx, dw, None, None, dgamma


_multiply.defvjp(_forward, _backward)
