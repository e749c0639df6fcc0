"""The engine's steps: a prompt and its next tokens as full forward passes say, and rows that sit out unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec
from shapes import LLAMA_8B

from jaxpersona.inference.steps import Rows, decode, empty_state, insert, prefill, shardings_of
from jaxpersona.models.cached_forward import form_of
from jaxpersona.models.sampling import Sampling, settings_of

PROMPTS = [[0, 40, 41, 42], [0, *range(60, 69)]]
LENGTH, WIDTH, NEW = 24, 16, 4


@pytest.fixture(scope="module")
def greedy(tiny_model):
    """Returns the likeliest continuation of each prompt, by whole forward passes."""
    apply = jax.jit(lambda tokens: tiny_model.apply({"params": tiny_model.params}, tokens)[0])
    found = []
    for prompt in PROMPTS:
        tokens = list(prompt)
        for _ in range(NEW):
            padded = np.zeros((1, LENGTH), np.int32)
            padded[0, : len(tokens)] = tokens
            tokens.append(int(np.asarray(apply(padded))[len(tokens) - 1].argmax()))
        found.append(tokens[len(prompt) :])
    return found


def rows_of(lengths, number):
    """Returns greedy rows whose input tokens are their last ones, after so many new tokens."""
    positions = np.array(lengths, np.int32) - 1 + number
    settings = settings_of([Sampling()] * len(lengths))
    return Rows(positions, np.full(len(lengths), number, np.int32), np.zeros(len(lengths), np.uint32), settings)


def prefilled(model, prompt):
    """Returns the state that a prompt leaves, and its first new token."""
    tokens = np.zeros((1, WIDTH), np.int32)
    tokens[0, : len(prompt)] = prompt
    state, drawn, _ = prefill(model.decoder, model.params, None, None, tokens, rows_of([len(prompt)], 0))
    return state, int(drawn.tokens[0])


def started(model):
    """Returns a state of three rows with the prompts in the first two, and the newest tokens."""
    state, newest = empty_state(form_of(model.params), model.config, 3, LENGTH, jnp.float32), [0, 0, 0]
    for row, prompt in enumerate(PROMPTS):
        new, newest[row] = prefilled(model, prompt)
        state = insert(state, row, new)
    return state, newest


def test_rows_get_the_tokens_of_full_forward_passes(tiny_model, greedy):
    state, newest = started(tiny_model)
    found = [newest]
    for number in range(1, NEW):
        rows = rows_of([*map(len, PROMPTS), 1], number)
        active = np.array([True, True, False])
        tokens = np.array(found[-1], np.int32)
        state, new = decode(tiny_model.decoder, tiny_model.params, None, None, state, tokens, active, rows)
        found.append(new.tokens.tolist())
    assert [list(row) for row in zip(*found, strict=True)] == [*greedy, [0] * NEW]


def test_a_row_that_sits_out_keeps_its_cache_and_token(tiny_model):
    state, newest = started(tiny_model)
    before = jax.tree.map(np.array, state)
    rows = rows_of([*map(len, PROMPTS), 1], 1)
    tokens, active = np.array(newest, np.int32), np.array([False, True, False])
    after, new = decode(tiny_model.decoder, tiny_model.params, None, None, state, tokens, active, rows)
    assert new.tokens[0] == newest[0]
    np.testing.assert_array_equal(after.seen[0], before.seen[0])
    for name in ("k", "v"):
        old, now = (np.asarray(each.cache["layers"]["self_attn"][name]) for each in (before, after))
        old, now = (each.swapaxes(3, 4) if name == "k" else each for each in (old, now))  # [layer, row, head, position, channel]
        np.testing.assert_array_equal(now[:, 0, :, :LENGTH], old[:, 0, :, :LENGTH])
        changed = (now[:, 1] != old[:, 1]).any(axis=(0, 1, 3))
        assert list(np.flatnonzero(changed)) == [len(PROMPTS[1])]


def test_seen_tokens_are_the_texts_without_padding(tiny_model):
    state, first = prefilled(tiny_model, PROMPTS[1])
    assert set(np.flatnonzero(state.seen[0])) == {*PROMPTS[1], first}


@pytest.mark.parametrize(("model", "heads"), [(8, "model"), (16, None)], ids=["divides the KV heads", "does not"])
def test_on_a_mesh_a_state_is_sharded_by_kv_heads_and_vocabulary(model, heads):
    state = jax.eval_shape(lambda: empty_state("stacked", LLAMA_8B, 4, LENGTH, jnp.bfloat16))
    found = shardings_of(state, AbstractMesh((1, model), ("data", "model")))
    assert {leaf.spec for leaf in jax.tree.leaves(found.cache)} == {PartitionSpec(None, None, heads)}
    assert found.seen.spec == PartitionSpec(None, "model")
