"""Helpers of both Pallas kernels: the personas in each tile of rows, and the abstract output."""

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def active_personas(ids: Array, tile: int, personas: int) -> tuple[Array, Array]:
    """Returns the personas that occur in each tile of rows.

    Args:
      ids: int32 [M], M a multiple of ``tile``; ids outside [0, personas) are ignored.
      tile: rows per tile.
      personas: number of personas P.

    Returns:
      int32 [M / tile, min(P, tile)], the personas that occur in ascending order, padded with the last one; and int32 [M / tile],
      their number.
    """
    present = jax.vmap(lambda part: jnp.any(part[:, None] == jnp.arange(personas), axis=0))(ids.reshape(-1, tile))
    count = present.sum(axis=1, dtype=jnp.int32)
    order = jnp.argsort(~present, axis=1, stable=True).astype(jnp.int32)[:, : min(personas, tile)]
    place = jnp.minimum(jnp.arange(order.shape[1]), jnp.maximum(count - 1, 0)[:, None])
    return jnp.take_along_axis(order, place, axis=1), count


def output_shape(shape: tuple[int, ...], dtype: Any, *operands: Array) -> Any:
    """Returns the abstract output of a kernel; within ``shard_map`` it varies over each mesh axis that an operand varies over."""
    return jax.eval_shape(lambda *each: sum((part.ravel()[0].astype(dtype) for part in each), jnp.zeros(shape, dtype)), *operands)
