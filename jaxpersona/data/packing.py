"""Token batches of one shape: several pairs in a row, both answers of a pair behind one copy of their prompt.

A row reads [prefix 1 | matching 1 | not matching 1 | prefix 2 | ...]. A token sees earlier tokens of its own pair that are
prefix or of its own answer; positions restart where an answer does. What the model computes for each text is what it computes
for that text alone, a prompt costs one pass instead of two, and one shape means one compilation.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.data.text import TokenizedPair

PREFIX, MATCHING, NOT_MATCHING = 0, 1, 2
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
      pair: index of the pair a token belongs to, -1 where nothing is.
      branch: ``PREFIX``, ``MATCHING`` or ``NOT_MATCHING``.
      weights: float32 [2, B, T], whether a token counts for the persona (0) and for its opposite (1). The prefix counts for both;
        padding and BOS never count.
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
        return same_text & (order[:, None] >= order) & (key_pair >= 0)

    def previous(self) -> jax.Array:
        """Int [B, T]: index in the row of the token before, in the same text; 0 where a text starts."""
        distance = self.positions[:, :, None] - self.positions[:, None, :]
        return jnp.argmax(self.visible() & (distance == 1), axis=2)


def cheapest_row_length(pairs: Sequence[TokenizedPair]) -> int:
    """Tokens a row for which reading the pairs takes the least time: attention grows with a row's square, empty space costs too.

    Longer than any choice if a pair is.
    """
    longest = max(len(pair) for pair in pairs)
    lengths = [length for length in _ROW_LENGTHS if length >= longest] or [longest]
    return min(lengths, key=lambda length: len(_first_fit(pairs, length)) * length * (1 + length / _DOUBLES_AT))


def pack(
    pairs: Sequence[TokenizedPair],
    bos_id: int | None,
    row_length: int = 512,
    batch_tokens: int = 4096,
    row_multiple: int = 1,
    shrink: bool = True,
) -> list[Batch]:
    """Packs pairs into batches that all have the same shape.

    Args:
      bos_id: token that never counts where it starts a text.
      row_length: tokens a row; longer if a pair needs it, shorter if all pairs fit into less. Always a multiple of 64.
      batch_tokens: upper bound of tokens a batch (at least ``row_multiple`` rows).
      row_multiple: batches have a multiple of this many rows (the number of devices that share them).
      shrink: False keeps rows long even if all pairs fit into less, for one shape over several calls.
    """
    longest = max(len(pair) for pair in pairs)
    length = max(longest, min(row_length, sum(len(pair) for pair in pairs)) if shrink else row_length)
    length = -(-length // _STEP) * _STEP
    rows = _first_fit(pairs, length)
    most = min(-(-len(rows) // row_multiple), max(1, batch_tokens // (length * row_multiple)))
    heights = [height * row_multiple for height in range((most + 1) // 2, most + 1)]
    height = min(heights, key=lambda height: (-len(rows) % height, -height))  # fewest empty rows, then fewest batches
    starts = range(0, len(rows), height)
    return [_fill(pairs, rows[start : start + height], height, length, bos_id) for start in starts]


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


def _first_fit(pairs: Sequence[TokenizedPair], length: int) -> list[list[int]]:
    """Indices of the pairs in each row: longest first, each into the first row with room."""
    rows, free = [], []
    for index in sorted(range(len(pairs)), key=lambda i: (-len(pairs[i]), i)):
        size = len(pairs[index])
        row = next((r for r, room in enumerate(free) if room >= size), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(length)
        rows[row].append(index)
        free[row] -= size
    return rows


def _fill(pairs: Sequence[TokenizedPair], rows: list[list[int]], height: int, length: int, bos_id: int | None) -> Batch:
    tokens, positions, branch = (np.zeros((height, length), np.int32) for _ in range(3))
    owner = np.full((height, length), -1, np.int32)
    weights = np.zeros((2, height, length), np.float32)
    for r, row in enumerate(rows):
        at = 0
        for index in row:
            pair, start = pairs[index], at
            for kind, ids in enumerate((pair.prefix, pair.matching, pair.not_matching)):
                span = slice(at, at + len(ids))
                offset = 0 if kind == PREFIX else len(pair.prefix)
                tokens[r, span], branch[r, span], owner[r, span] = ids, kind, index
                positions[r, span] = offset + np.arange(len(ids))
                weights[:, r, span] = [[kind != NOT_MATCHING], [kind != MATCHING]]
                at += len(ids)
            # A BOS can start only a text: the pair's first token, or each answer's where the prefix is empty.
            starts = [start] if pair.prefix else [start, start + len(pair.matching)]
            for first in starts:
                if first < length and tokens[r, first] == bos_id:
                    weights[:, r, first] = 0
    return Batch(tokens, positions, owner, branch, weights)
