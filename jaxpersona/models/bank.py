"""A mask bank: the packed masks of several personas side by side, as the decoder's ``masks`` collection.

Leaves are uint16 [layer, place, words, out] by kernel (the head's [place, words, out]); a persona is a place in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpersona import bitpack
from jaxpersona.errors import InputError
from jaxpersona.masks import Masks, Params
from jaxpersona.models.sites import HEAD, kernels, kernels_and_head
from jaxpersona.tree import flatten, unflatten

Bank = dict[str, Any]


def full_bank(params: Params, places: int, head: bool = False) -> Bank:
    """A bank whose every place keeps all weights: the model as it is.

    Args:
      head: whether the bank has masks of the head's kernel as well.
    """
    leaves = kernels_and_head(params) if head else kernels(params)
    full = {}
    for path, kernel in leaves.items():
        column = bitpack.pack(jnp.ones((kernel.shape[1], 1), bool))
        shape = (kernel.shape[0], places, column.shape[0], kernel.shape[2])
        full[path] = jnp.broadcast_to(column, shape)[0 if path == HEAD else slice(None)]
    return unflatten(full)


def put(bank: Bank, place: int, masks: Masks) -> Bank:
    """The bank with a persona's masks at a place; the given one is used up.

    Raises:
      InputError: when the masks are of another model, or mask a head that the bank leaves whole.
    """
    shapes = {path: leaf.shape for path, leaf in flatten(bank).items()}
    for path, words in masks.words.items():
        layer = (words.shape[0],) if path != HEAD else ()
        if path not in shapes or shapes[path] != (*layer, shapes[path][-3], *words.shape[1:]):
            raise InputError(f"mask does not fit the model: {path} has words {words.shape}, the bank {shapes.get(path, 'none')}")
    return _put(bank, place, masks.words)


@jax.jit(donate_argnums=0)
def _put(bank: Bank, place: jax.Array, words: Mapping[str, jax.Array]) -> Bank:
    leaves = flatten(bank)
    for path, leaf in leaves.items():
        if path not in words:
            continue
        leaves[path] = leaf.at[place].set(words[path][0]) if path == HEAD else leaf.at[:, place].set(words[path])
    return unflatten(leaves)


def bank_of(params: Params, masks: Sequence[Masks]) -> Bank:
    """A bank of these personas, in order."""
    bank = full_bank(params, len(masks), head=any(HEAD in persona.words for persona in masks))
    for place, persona in enumerate(masks):
        bank = put(bank, place, persona)
    return bank
