"""Mask banks: the masks of several personas in one tree, the decoder's ``masks`` collection.

A bank has one slot per persona and a last slot that keeps all weights (the base model). Its leaves, by kernel path, are packed
words, uint16 [layer, slot, words, out] (for the head [slot, words, out]). For compact parameters they are removal bits, uint8
[layer, bytes, out, in], as in ``models/cpu/bfloat16_bits.py``. On a mesh, words are sharded as the kernels are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import mesh_of, sharding_of_words
from jaxpersona.core.tree import Params, flatten, unflatten
from jaxpersona.masks.masks import Masks
from jaxpersona.models.cpu.bfloat16_bits import is_compact
from jaxpersona.models.sites import HEAD, kernels, kernels_and_head
from jaxpersona.ops import bitpack

Bank = dict[str, Any]


def full_bank(params: Params, personas: int, head: bool = False) -> Bank:
    """Returns a bank with ``personas`` slots, all of which keep every weight.

    Args:
      head: if True, the bank also has masks of the head's kernel.
    """
    leaves = kernels_and_head(params) if head else kernels(params)
    return unflatten({path: _full(path, kernel, personas) for path, kernel in leaves.items()})


def _full(path: str, kernel: jax.Array, personas: int) -> jax.Array:
    layers, rows, columns = kernel.shape
    lead = () if path == HEAD else (layers,)
    if is_compact(kernel):
        return _broadcast(jnp.uint8(0), (*lead, -(-personas // 8), rows, columns), path, kernel)
    words = bitpack.pack(jnp.ones((rows, 1), bool))
    return _broadcast(words, (*lead, personas + 1, len(words), columns), path, kernel)


def _broadcast(value: jax.Array, shape: tuple[int, ...], path: str, kernel: jax.Array) -> jax.Array:
    """Returns a bank's leaf; under jit, so that no device of a mesh ever holds a whole one."""
    sharding = _sharding(path, shape, value, mesh_of(kernel))
    return jax.jit(jnp.broadcast_to, static_argnums=1, out_shardings=sharding)(value, shape)


def _sharding(path: str, shape: tuple[int, ...], leaf: jax.Array, mesh: Mesh | None) -> jax.sharding.Sharding:
    """Returns where to commit a leaf: programs compile anew for uncommitted arrays."""
    return leaf.sharding if mesh is None else sharding_of_words(path, shape, mesh)


def put(bank: Bank, slot: int, masks: Masks) -> Bank:
    """Returns the bank with a persona's masks in a slot; donates the given bank.

    Raises:
      InputError: as ``check_fits``.
    """
    check_fits(bank, masks)
    mesh = mesh_of(bank)
    places = {path: _sharding(path, words.shape, words, mesh) for path, words in masks.words.items()}
    return _put(bank, slot, jax.device_put(masks.words, places))


def check_fits(bank: Bank, masks: Masks) -> None:
    """Checks that a bank can hold a persona's masks.

    Raises:
      InputError: if the masks are of another model, or mask a head that the bank has no masks for.
    """
    fitting = {path: _words_shape(path, leaf) for path, leaf in flatten(bank).items()}
    for path, words in masks.words.items():
        if fitting.get(path) != words.shape:
            raise InputError(f"mask does not fit the model: {path} has words {words.shape}, the bank {fitting.get(path, 'none')}")


def _words_shape(path: str, leaf: jax.Array) -> tuple[int, ...]:
    """Returns the shape [layer, words, out] of masks that fit a leaf."""
    layers = 1 if path == HEAD else leaf.shape[0]
    last = leaf.shape[-2:] if leaf.dtype == jnp.uint16 else (bitpack.word_rows(leaf.shape[-1]), leaf.shape[-2])
    return (layers, *last)


@jax.jit(donate_argnums=0)
def _put(bank: Bank, slot: jax.Array, words: Mapping[str, jax.Array]) -> Bank:
    leaves = flatten(bank)
    for path, leaf in leaves.items():
        put_leaf = _put_words if leaf.dtype == jnp.uint16 else _put_bits
        own = words[path][0 if path == HEAD else slice(None)] if path in words else None
        leaves[path] = put_leaf(leaf, slot, own)
    return unflatten(leaves)


def _put_words(leaf: jax.Array, slot: jax.Array, words: jax.Array | None) -> jax.Array:
    """Writes words into a slot; None, as for an unmasked head, keeps every weight."""
    return leaf.at[..., slot, :, :].set(leaf[..., -1, :, :] if words is None else words)


def _put_bits(leaf: jax.Array, slot: jax.Array, words: jax.Array | None) -> jax.Array:
    removed = False if words is None else ~jnp.swapaxes(bitpack.unpack(words, leaf.shape[-1]), -1, -2)
    bit = jnp.uint8(1) << (slot % 8).astype(jnp.uint8)
    others = leaf[..., slot // 8, :, :] & ~bit
    return leaf.at[..., slot // 8, :, :].set(jnp.where(removed, others | bit, others))


def bank_of(params: Params, masks: Sequence[Masks]) -> Bank:
    """Returns a bank with persona i in slot i.

    Raises:
      InputError: as ``put``.
    """
    bank = full_bank(params, len(masks), head=any(HEAD in persona.words for persona in masks))
    for slot, persona in enumerate(masks):
        bank = put(bank, slot, persona)
    return bank
