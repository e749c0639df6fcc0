"""The masked product as a Pallas TPU kernel.

The grid is (tiles of rows, blocks of outputs, blocks of inputs, personas of the tile). With personas innermost, each block of
weights is fetched once. For each persona in the tile, the kernel fetches its mask words, ANDs the weights with them in vector
registers, multiplies all rows of the tile, and adds the product to that persona's rows. The AND turns any removed weight into 0,
even NaN.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxpersona.ops.bitpack import BLOCK, WORD_BITS, word_rows
from jaxpersona.ops.masked_matmul.block_sizes import TPU, Blocks
from jaxpersona.ops.masked_matmul.row_tiles import active_personas, output_shape

Array = jax.Array
_LANES = BLOCK // WORD_BITS
_ROWS = 16
"""Rows are padded to a multiple of a bfloat16 tile's height."""
_WITHOUT_BFLOAT16 = ("TPU v2", "TPU v3")
"""Mosaic rejects these with "Unsupported matmul RHS type on target" (compiled ahead of time, jax 0.10.2)."""


def refusal(x: Array, w: Array) -> str | None:
    """Returns why this kernel cannot take the operands; None if it can."""
    if x.dtype not in (jnp.float32, jnp.bfloat16):
        return f"the TPU kernel takes float32 and bfloat16, not {x.dtype}"
    kind = jax.devices()[0].device_kind
    if x.dtype == jnp.bfloat16 and kind in _WITHOUT_BFLOAT16:
        return f"{kind} has no bfloat16 product for kernels"
    return None


def multiply(
    x: Array, w: Array, words: Array, ids: Array, gamma: Array | None, blocks: Blocks = TPU, interpret: Any = False
) -> Array:
    """Computes ``xla.multiply`` of rows x [M, K] with ids [M] and gamma [M]; ``interpret`` as in ``pallas_call``."""
    rows, outputs = x.shape[0], w.shape[1]
    tile = min(blocks.rows, -(-rows // _ROWS) * _ROWS)
    tiles, bn = pl.cdiv(rows, tile), min(blocks.outputs, outputs)
    bk = min(blocks.inputs, word_rows(w.shape[0]) * WORD_BITS)
    steps = pl.cdiv(w.shape[0], bk)
    # x is padded with zeros here; the kernel clears the part of a block that lies past the end of w and words.
    x = jnp.pad(x, ((0, tiles * tile - rows), (0, steps * bk - x.shape[1])))
    ids = jnp.pad(ids, (0, tiles * tile - rows), constant_values=-1)
    active, count = active_personas(ids, tile, words.shape[0])
    soft = [] if gamma is None else [jnp.pad(gamma, (0, tiles * tile - rows))[:, None].astype(jnp.float32)]
    by_row = pl.BlockSpec((tile, 1), lambda i, n, k, p, *_: (i, 0))
    in_specs = [
        by_row,
        *[by_row] * len(soft),
        pl.BlockSpec((tile, bk), lambda i, n, k, p, *_: (i, k)),
        pl.BlockSpec((bk, bn), lambda i, n, k, p, *_: (k, n)),
        pl.BlockSpec((None, bk // WORD_BITS, bn), lambda i, n, k, p, active, _: (active[i, p], k, n)),
    ]
    grid_spec = pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=2,
        grid=(tiles, pl.cdiv(outputs, bn), steps, active.shape[1]),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((tile, bn), lambda i, n, k, p, *_: (i, n)),
        scratch_shapes=[pltpu.VMEM((tile, bn), jnp.float32)],
    )
    product = pl.pallas_call(
        functools.partial(_kernel, inputs=w.shape[0], soft=bool(soft)),
        grid_spec=grid_spec,
        out_shape=output_shape((tiles * tile, outputs), x.dtype, ids, *soft, x, w, words),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary")),
        interpret=interpret,
        name="masked_matmul",
    )
    return product(active, count, ids[:, None], *soft, x, w, words)[:rows]


def _kernel(active: Any, count: Any, ids: Any, *refs: Any, inputs: int, soft: bool) -> None:
    *gamma, x, w, words, out, total = refs
    tile, block, persona = pl.program_id(0), pl.program_id(2), pl.program_id(3)
    first = block * w.shape[0]
    ragged = inputs % w.shape[0] != 0

    @pl.when((block == 0) & (persona == 0))
    def _() -> None:
        total[...] = jnp.zeros_like(total)

    if soft:

        @pl.when(persona == 0)
        def _() -> None:
            weights = _cleared(w[...], inputs - first) if ragged else w[...]
            dense = jnp.dot(x[...], weights, preferred_element_type=jnp.float32)
            total[...] += jnp.where(gamma[0][...] > 0, gamma[0][...] * dense, 0.0)

    @pl.when(persona < count[tile])
    def _() -> None:
        masked = _masked(w[...], words[...], word_rows(inputs) - block * words.shape[0] if ragged else None)
        product = jnp.dot(x[...], masked, preferred_element_type=jnp.float32)
        share = 1.0 - gamma[0][...] if soft else 1.0
        total[...] += jnp.where(ids[...] == active[tile, persona], share * product, 0.0)

    @pl.when((block == pl.num_programs(2) - 1) & (persona == pl.num_programs(3) - 1))
    def _() -> None:
        out[...] = total[...].astype(out.dtype)


def _masked(w: Array, words: Array, valid: Array | None) -> Array:
    """Returns w [bk, bn] where the bits of words [bk / 16, bn] are set, else 0; words from ``valid`` on, if given, count as 0.

    In bfloat16, two adjacent rows share a 32-bit lane, and so do their two words, so both are processed at once.
    """
    paired = w.dtype == jnp.bfloat16
    weights = pltpu.bitcast(w, jnp.uint32)
    bits = pltpu.bitcast(words, jnp.uint32) if paired else words.astype(jnp.uint32)
    per_lane = 2 if paired else 1
    if valid is not None:
        place = jax.lax.broadcasted_iota(jnp.int32, bits.shape, 0) * per_lane
        bits = jnp.where(place < valid, bits, jnp.uint32(0))
    height, ones = _LANES // per_lane, jnp.uint32(0x00010001 if paired else 1)
    slabs = []
    for group in range(bits.shape[0] // height):
        own = bits[group * height : (group + 1) * height]
        for bit in range(WORD_BITS):
            set_bits = (own >> bit) & ones
            keep = (set_bits << 16) - set_bits if paired else jnp.uint32(0) - set_bits
            start = (group * WORD_BITS + bit) * height
            slabs.append(weights[start : start + height] & keep)
    return pltpu.bitcast(jnp.concatenate(slabs, axis=0), w.dtype)


def _cleared(w: Array, valid: Array) -> Array:
    """Returns w [bk, bn] with zeros from row ``valid`` on."""
    weights = pltpu.bitcast(w, jnp.uint32)
    place = jax.lax.broadcasted_iota(jnp.int32, weights.shape, 0)
    if w.dtype == jnp.float32:
        return pltpu.bitcast(jnp.where(place < valid, weights, jnp.uint32(0)), w.dtype)
    low = jnp.where(2 * place < valid, jnp.uint32(0xFFFF), jnp.uint32(0))
    high = jnp.where(2 * place + 1 < valid, jnp.uint32(0xFFFF0000), jnp.uint32(0))
    return pltpu.bitcast(weights & (low | high), w.dtype)
