"""Packs token pairs into batches of one shape: several pairs per row, both answers of a pair behind one copy of their prompt.

A row is [shared prefix | prefix 1 | matching 1 | not matching 1 | prefix 2 | ...]. The shared prefix is the beginning of all
texts, for example a chat template's header. A token attends to earlier tokens of the shared prefix, of its pair's prefix and of
its own answer; positions restart with each answer and prefix. The model's output for a text thus equals its output for that text
alone. A prompt is computed once instead of twice, the shared prefix once per row, and a single shape needs a single compilation.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.data.text import TokenizedPair, common_prefix_length

PREFIX, MATCHING, NOT_MATCHING = 0, 1, 2
PADDING, SHARED = -1, -2  # in place of a pair's index
_STEP = 64
_ROW_LENGTHS = (128, 192, 256, 320)
_DOUBLES_AT = 1300  # row length at which attention takes as long as everything else, estimated from a profile (SmolLM2, CPU)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed rows, all int32 [B, T] except ``weights``.

    Attributes:
      tokens: token ids; 0 is padding.
      positions: position of each token within its own text.
      pair: index of the pair that a token belongs to, ``SHARED`` for the shared prefix, ``PADDING`` for padding.
      branch: ``PREFIX``, ``MATCHING`` or ``NOT_MATCHING``.
      weights: float32 [2, B, T], how often a token counts for the persona (0) and for its opposite (1). A prefix counts for both,
        the shared prefix once for every pair in the row; padding and BOS never count.
    """

    tokens: np.ndarray | jax.Array
    positions: np.ndarray | jax.Array
    pair: np.ndarray | jax.Array
    branch: np.ndarray | jax.Array
    weights: np.ndarray | jax.Array

    def visible(self) -> jax.Array:
        """Returns the attention mask bool [B, T, T]: whether the token at axis 1 may attend to the one at axis 2."""
        query_pair, key_pair = self.pair[:, :, None], self.pair[:, None, :]
        query_branch, key_branch = self.branch[:, :, None], self.branch[:, None, :]
        order = jnp.arange(self.tokens.shape[1])
        same_text = (query_pair == key_pair) & ((key_branch == PREFIX) | (key_branch == query_branch))
        shared = (key_pair == SHARED) & (query_pair != PADDING)
        return (same_text | shared) & (order[:, None] >= order) & (key_pair != PADDING)

    def previous(self) -> jax.Array:
        """Returns the row index of each token's predecessor in its text, int [B, T]; 0 for the first token of a text."""
        distance = self.positions[:, :, None] - self.positions[:, None, :]
        return jnp.argmax(self.visible() & (distance == 1), axis=2)


def shared_prefix_length(pairs: Sequence[TokenizedPair]) -> int:
    """Returns the number of tokens that all pairs begin with, up to their answers.

    >>> shared_prefix_length([TokenizedPair((1, 2, 3), (4,), (5,), 3, False), TokenizedPair((1, 2, 9, 8), (6,), (7,), 4, False)])
    2
    """
    prompts = [pair.prefix[: pair.answer_start] for pair in pairs]
    return common_prefix_length(min(prompts), max(prompts))  # in sorted order, the first and last share the prefix that all share


def choose_row_length(pairs: Sequence[TokenizedPair], shared_prefix: int = 0) -> int:
    """Returns the row length, in tokens, that is estimated to take the least time.

    Weighs attention, which grows with the square of a row's length, against padding. If a pair exceeds every candidate, returns
    its length.

    Args:
      pairs: to be packed.
      shared_prefix: as for ``pack``.
    """
    longest = max(len(pair) for pair in pairs)
    lengths = [length for length in _ROW_LENGTHS if length >= longest] or [longest]
    return min(lengths, key=lambda length: len(_first_fit(pairs, length, shared_prefix)) * length * (1 + length / _DOUBLES_AT))


def pack(
    pairs: Sequence[TokenizedPair],
    bos_id: int | None,
    row_length: int = 512,
    batch_tokens: int = 4096,
    row_multiple: int = 1,
    shrink: bool = True,
    shared_prefix: int = 0,
) -> list[Batch]:
    """Packs pairs into batches that all have the same shape.

    Args:
      pairs: at least one.
      bos_id: token that gets weight 0 at the start of a text.
      row_length: tokens per row, rounded up to a multiple of 64. Longer if a pair needs it, shorter if all pairs fit in less.
      batch_tokens: maximum number of tokens per batch, but at least ``row_multiple`` rows.
      row_multiple: batches have a multiple of this many rows (the number of devices that rows are sharded over).
      shrink: False keeps the row length even if all pairs fit in less, so that several calls give one shape.
      shared_prefix: number of tokens, at most ``shared_prefix_length``, to pack once per row. Their activations then stand for
        all pairs of the row: correct for sums over tokens, wrong for sums over squared gradients.
    """
    longest = max(len(pair) for pair in pairs)
    total = shared_prefix + sum(len(pair) - shared_prefix for pair in pairs)
    length = max(longest, min(row_length, total) if shrink else row_length)
    length = -(-length // _STEP) * _STEP
    rows = _first_fit(pairs, length, shared_prefix)
    most = min(-(-len(rows) // row_multiple), max(1, batch_tokens // (length * row_multiple)))
    heights = [height * row_multiple for height in range((most + 1) // 2, most + 1)]
    height = min(heights, key=lambda height: (-len(rows) % height, -height))  # fewest empty rows, then fewest batches
    starts = range(0, len(rows), height)
    return [_fill(pairs, rows[start : start + height], height, length, bos_id, shared_prefix) for start in starts]


def whole_rows(tokens: np.ndarray, bos_id: int | None, rows: int = 1) -> list[Batch]:
    """Returns batches of ``rows`` texts each from int32 [n, T], one text per row.

    Their weights [1, rows, T] are 1, or 0 for a BOS token at the start of a row.
    """
    zeros = np.zeros((rows, tokens.shape[1]), np.int32)
    positions = zeros + np.arange(tokens.shape[1], dtype=np.int32)
    batches = []
    for start in range(0, len(tokens), rows):
        part = tokens[start : start + rows]
        weights = np.ones((1, *part.shape), np.float32)
        weights[:, :, 0] = part[:, 0] != bos_id
        batches.append(Batch(part, positions[: len(part)], zeros[: len(part)], (zeros + MATCHING)[: len(part)], weights))
    return batches


def answer_weights(batch: Batch, pairs: Sequence[TokenizedPair]) -> np.ndarray:
    """Returns weights float32 [2, B, T] that turn sums over tokens into sums over pairs of means over an answer.

    A token of the persona's answers (0) or of the opposite ones (1) has 1 / (tokens of its answer), any other token 0. Tokens
    with which both answers begin are part of the prefix and have 0.
    """
    lengths = np.array([[len(pair.matching), len(pair.not_matching)] for pair in pairs], np.float32)
    pair, branch = np.asarray(batch.pair), np.asarray(batch.branch)
    mine = [(pair >= 0) & (branch == kind) for kind in (MATCHING, NOT_MATCHING)]
    return np.where(mine, 1 / lengths.T[:, pair], 0).astype(np.float32)


def _first_fit(pairs: Sequence[TokenizedPair], length: int, shared_prefix: int) -> list[list[int]]:
    """Returns the indices of the pairs in each row: longest first, each into the first row with room (first-fit decreasing)."""
    rows, free = [], []
    for index in sorted(range(len(pairs)), key=lambda i: (-len(pairs[i]), i)):
        size = len(pairs[index]) - shared_prefix
        row = next((r for r, room in enumerate(free) if room >= size), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(length - shared_prefix)
        rows[row].append(index)
        free[row] -= size
    return rows


def _fill(
    pairs: Sequence[TokenizedPair], rows: list[list[int]], height: int, length: int, bos_id: int | None, shared_prefix: int
) -> Batch:
    tokens, positions, branch = (np.zeros((height, length), np.int32) for _ in range(3))
    owner = np.full((height, length), PADDING, np.int32)
    weights = np.zeros((2, height, length), np.float32)
    for r, row in enumerate(rows):
        at = 0
        for ids, position, index, kind, counts in _spans(pairs, row, shared_prefix):
            span = slice(at, at + len(ids))
            tokens[r, span], owner[r, span], branch[r, span] = ids, index, kind
            positions[r, span] = position + np.arange(len(ids))
            weights[:, r, span] = np.array(counts)[:, None]
            at += len(ids)
    weights *= (positions > 0) | (tokens != bos_id)  # past the start of a text, BOS is an ordinary token
    return Batch(tokens, positions, owner, branch, weights)


def _spans(
    pairs: Sequence[TokenizedPair], row: list[int], shared_prefix: int
) -> Iterator[tuple[Any, int, int, int, tuple[int, int]]]:
    """Yields the parts of a row: tokens, position of the first, pair, branch, and weight for each of the two personas."""
    yield pairs[0].prefix[:shared_prefix], 0, SHARED, PREFIX, (len(row), len(row))
    for index in row:
        pair = pairs[index]
        yield pair.prefix[shared_prefix:], shared_prefix, index, PREFIX, (1, 1)
        yield pair.matching, len(pair.prefix), index, MATCHING, (1, 0)
        yield pair.not_matching, len(pair.prefix), index, NOT_MATCHING, (0, 1)
