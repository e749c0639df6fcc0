"""Token batches of one shape: several pairs in a row, both answers of a pair behind one copy of their prompt.

A row reads [shared | prefix 1 | matching 1 | not matching 1 | prefix 2 | ...]. A token sees earlier tokens of its own pair that
are prefix or of its own answer, and the opening, what all texts begin with (a chat template's own words, say); positions restart
where an answer or the next prefix does. What the model computes for each text is what it computes for that text alone, a prompt
costs one pass instead of two, an opening one a row, and one shape means one compilation.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.data.text import TokenizedPair, common

PREFIX, MATCHING, NOT_MATCHING = 0, 1, 2
NOTHING, SHARED = -1, -2  # where there are no pairs
_STEP = 64
_ROW_LENGTHS = (128, 192, 256, 320)
_DOUBLES_AT = 1300  # tokens a row at which attention takes as long as all else, estimated from a profile (SmolLM2, CPU)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed rows, all int32 [B, T] but ``weights``.

    Attributes:
      tokens: token ids, 0 where nothing is.
      positions: position of each token within its own text.
      pair: index of the pair a token belongs to, ``NOTHING`` where nothing is, ``SHARED`` for tokens of all pairs in the row.
      branch: ``PREFIX``, ``MATCHING`` or ``NOT_MATCHING``.
      weights: float32 [2, B, T], how often a token counts for the persona (0) and for its opposite (1). The prefix counts for
        both, the shared prefix once for every pair in the row; padding and BOS never count.
    """

    tokens: np.ndarray | jax.Array
    positions: np.ndarray | jax.Array
    pair: np.ndarray | jax.Array
    branch: np.ndarray | jax.Array
    weights: np.ndarray | jax.Array

    def visible(self) -> jax.Array:
        """Bool [B, T, T]: whether the token at axis 1 may attend to the one at axis 2."""
        query_pair, key_pair = self.pair[:, :, None], self.pair[:, None, :]
        query_branch, key_branch = self.branch[:, :, None], self.branch[:, None, :]
        order = jnp.arange(self.tokens.shape[1])
        same_text = (query_pair == key_pair) & ((key_branch == PREFIX) | (key_branch == query_branch))
        shared = (key_pair == SHARED) & (query_pair != NOTHING)
        return (same_text | shared) & (order[:, None] >= order) & (key_pair != NOTHING)

    def previous(self) -> jax.Array:
        """Int [B, T]: index in the row of the token before, in the same text; 0 where a text starts."""
        distance = self.positions[:, :, None] - self.positions[:, None, :]
        return jnp.argmax(self.visible() & (distance == 1), axis=2)


def shared_prefix_length(pairs: Sequence[TokenizedPair]) -> int:
    """Returns how many tokens before the answers all pairs begin with.

    >>> shared_prefix_length([TokenizedPair((1, 2, 3), (4,), (5,), 3, False), TokenizedPair((1, 2, 9, 8), (6,), (7,), 4, False)])
    2
    """
    openings = [pair.prefix[: pair.answer_start] for pair in pairs]
    return common(min(openings), max(openings))  # all between them in order begin with what these two begin with


def choose_row_length(pairs: Sequence[TokenizedPair], shared_prefix: int = 0) -> int:
    """Chooses the tokens a row that take the least time: attention grows with a row's square, and padding costs too.

    If a pair exceeds every candidate, returns its length.

    Args:
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
      bos_id: token that never counts where it starts a text.
      row_length: tokens a row; longer if a pair needs it, shorter if all pairs fit into less. Always a multiple of 64.
      batch_tokens: upper bound of tokens a batch (at least ``row_multiple`` rows).
      row_multiple: batches have a multiple of this many rows (the number of devices that share them).
      shrink: False keeps rows long even if all pairs fit into less, for one shape over several calls.
      shared_prefix: number of tokens that all pairs begin with, up to ``shared_prefix_length``, to pack once per row. They are
        then computed for all pairs in the row together: right for sums over tokens, wrong for sums over squared gradients.
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
    """Batches of ``rows`` texts each, from texts int32 [n, T] that fill their rows; weights [1, rows, T] count all but BOS."""
    zeros = np.zeros((rows, tokens.shape[1]), np.int32)
    positions = zeros + np.arange(tokens.shape[1], dtype=np.int32)
    batches = []
    for start in range(0, len(tokens), rows):
        part = tokens[start : start + rows]
        weights = np.ones((1, *part.shape), np.float32)
        weights[:, :, 0] = part[:, 0] != bos_id
        batches.append(Batch(part, positions[: len(part)], zeros[: len(part)], (zeros + MATCHING)[: len(part)], weights))
    return batches


def answer_shares(batch: Batch, pairs: Sequence[TokenizedPair]) -> np.ndarray:
    """Float32 [2, B, T]: 1 / tokens of its answer for a token of the persona's answers (0) or of the opposite ones (1), else 0.

    Sums over tokens weighted so are sums over pairs of means over an answer. Tokens that the answers share are the same in both
    and do not count.
    """
    lengths = np.array([[len(pair.matching), len(pair.not_matching)] for pair in pairs], np.float32)
    pair, branch = np.asarray(batch.pair), np.asarray(batch.branch)
    mine = [(pair >= 0) & (branch == kind) for kind in (MATCHING, NOT_MATCHING)]
    return np.where(mine, 1 / lengths.T[:, pair], 0).astype(np.float32)


def _first_fit(pairs: Sequence[TokenizedPair], length: int, shared_prefix: int) -> list[list[int]]:
    """Indices of the pairs in each row: longest first, each into the first row with room."""
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
    owner = np.full((height, length), NOTHING, np.int32)
    weights = np.zeros((2, height, length), np.float32)
    for r, row in enumerate(rows):
        at = 0
        for ids, position, index, kind, counts in _spans(pairs, row, shared_prefix):
            span = slice(at, at + len(ids))
            tokens[r, span], owner[r, span], branch[r, span] = ids, index, kind
            positions[r, span] = position + np.arange(len(ids))
            weights[:, r, span] = np.array(counts)[:, None]
            at += len(ids)
    weights *= (positions > 0) | (tokens != bos_id)  # elsewhere it is a token like others
    return Batch(tokens, positions, owner, branch, weights)


def _spans(
    pairs: Sequence[TokenizedPair], row: list[int], shared_prefix: int
) -> Iterator[tuple[Any, int, int, int, tuple[int, int]]]:
    """What a row holds: tokens, position of the first, pair, branch, and how often they count for each persona."""
    yield pairs[0].prefix[:shared_prefix], 0, SHARED, PREFIX, (len(row), len(row))
    for index in row:
        pair = pairs[index]
        yield pair.prefix[shared_prefix:], shared_prefix, index, PREFIX, (1, 1)
        yield pair.matching, len(pair.prefix), index, MATCHING, (1, 0)
        yield pair.not_matching, len(pair.prefix), index, NOT_MATCHING, (0, 1)
