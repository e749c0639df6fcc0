"""Tiles of rows list the personas that they need."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.ops.masked_matmul.row_tiles import active_personas


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 6), st.sampled_from([1, 4, 8]), st.integers(1, 3), st.integers(0, 99))
def test_each_tile_lists_its_own_personas_in_order_and_repeats_the_last(personas, tile, tiles, seed):
    ids = np.random.default_rng(seed).integers(-1, personas + 1, tiles * tile)
    active, count = active_personas(jnp.asarray(ids), tile, personas)
    assert active.shape == (tiles, min(personas, tile))
    for part, found, number in zip(ids.reshape(tiles, tile), np.asarray(active), np.asarray(count), strict=True):
        occurring = sorted({i for i in part if 0 <= i < personas})
        assert number == len(occurring)
        assert found[:number].tolist() == occurring
        assert len(set(found[max(number - 1, 0) :])) == 1 or not occurring
