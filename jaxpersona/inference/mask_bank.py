"""A mask bank: the masks of several personas side by side, as the decoder's ``masks`` collection.

It has a place for each persona, and one more, the last, that keeps all weights: the model as it is. Leaves are packed words
uint16 [layer, place, words, out] by kernel (the head's [place, words, out]), or, for compact parameters, removal bits uint8
[layer, bytes, out, in] as in ``compact.py``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError
from jaxpersona.core.tree import Params, flatten, unflatten
from jaxpersona.masks.masks import Masks
from jaxpersona.models.cpu.bfloat16_bits import is_compact
from jaxpersona.models.sites import HEAD, kernels, kernels_and_head
from jaxpersona.ops import bitpack

Bank = dict[str, Any]


def full_bank(params: Params, personas: int, head: bool = False) -> Bank:
    """A bank for so many personas whose every place keeps all weights.

    Args:
      head: whether the bank has masks of the head's kernel as well.
    """
    leaves = kernels_and_head(params) if head else kernels(params)
    full = {path: _full(kernel, personas)[0 if path == HEAD else slice(None)] for path, kernel in leaves.items()}
    return unflatten(full)


def _full(kernel: jax.Array, personas: int) -> jax.Array:
    layers, rows, columns = kernel.shape
    if is_compact(kernel):
        return jnp.zeros((layers, -(-personas // 8), rows, columns), jnp.uint8)
    words = bitpack.pack(jnp.ones((rows, 1), bool))
    return jnp.broadcast_to(words, (layers, personas + 1, len(words), columns))


def put(bank: Bank, place: int, masks: Masks) -> Bank:
    """The bank with a persona's masks at a place; the given one is used up.

    Raises:
      InputError: when the masks are of another model, or mask a head that the bank leaves whole.
    """
    fitting = {path: _words_shape(path, leaf) for path, leaf in flatten(bank).items()}
    for path, words in masks.words.items():
        if fitting.get(path) != words.shape:
            raise InputError(f"mask does not fit the model: {path} has words {words.shape}, the bank {fitting.get(path, 'none')}")
    return _put(bank, place, masks.words)


def _words_shape(path: str, leaf: jax.Array) -> tuple[int, ...]:
    """The shape [layer, words, out] of the masks that fit a leaf."""
    layers = 1 if path == HEAD else leaf.shape[0]
    last = leaf.shape[-2:] if leaf.dtype == jnp.uint16 else (bitpack.word_rows(leaf.shape[-1]), leaf.shape[-2])
    return (layers, *last)


@jax.jit(donate_argnums=0)
def _put(bank: Bank, place: jax.Array, words: Mapping[str, jax.Array]) -> Bank:
    leaves = flatten(bank)
    for path, leaf in leaves.items():
        put_leaf = _put_words if leaf.dtype == jnp.uint16 else _put_bits
        own = words[path][0 if path == HEAD else slice(None)] if path in words else None
        leaves[path] = put_leaf(leaf, place, own)
    return unflatten(leaves)


def _put_words(leaf: jax.Array, place: jax.Array, words: jax.Array | None) -> jax.Array:
    """Without words, as for a head that a persona leaves whole, every weight is kept."""
    return leaf.at[..., place, :, :].set(leaf[..., -1, :, :] if words is None else words)


def _put_bits(leaf: jax.Array, place: jax.Array, words: jax.Array | None) -> jax.Array:
    removed = False if words is None else ~jnp.swapaxes(bitpack.unpack(words, leaf.shape[-1]), -1, -2)
    bit = jnp.uint8(1) << (place % 8).astype(jnp.uint8)
    others = leaf[..., place // 8, :, :] & ~bit
    return leaf.at[..., place // 8, :, :].set(jnp.where(removed, others | bit, others))


def bank_of(params: Params, masks: Sequence[Masks]) -> Bank:
    """A bank of these personas, in order."""
    bank = full_bank(params, len(masks), head=any(HEAD in persona.words for persona in masks))
    for place, persona in enumerate(masks):
        bank = put(bank, place, persona)
    return bank
