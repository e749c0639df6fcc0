"""How likely a model finds each answer of a pair: log-probabilities, from packed batches with the prompt computed once."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpersona.core.mesh import add_over_rows, pin_moments, place_rows, row_multiple
from jaxpersona.core.progress import Progress, silent
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, Batch, cheapest_row_length, common_opening, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import Model
from jaxpersona.models.weights import Params

_STEP = 32
_BATCH_TOKENS = 2048  # a device


@dataclasses.dataclass(frozen=True)
class AnswerScores:
    """Log-probabilities of both answers of every pair, in nats; column 0 is the persona's answer, column 1 the opposite one.

    Attributes:
      log_prob: summed over the answer's tokens and the end of its turn, float64 [pairs, 2].
      tokens: how many those are, int64 [pairs, 2].
      prompt_log_prob: summed over the tokens before the answers but the first, float64 [pairs]; 0 where it was not asked for.
      prompt_tokens: how many those are, int64 [pairs].
    """

    log_prob: np.ndarray
    tokens: np.ndarray
    prompt_log_prob: np.ndarray
    prompt_tokens: np.ndarray

    def __getitem__(self, some: slice) -> "AnswerScores":
        """The scores of some of the pairs."""
        return AnswerScores(*(getattr(self, field.name)[some] for field in dataclasses.fields(self)))

    def nll(self) -> float:
        """Mean negative log-likelihood per answer token, over both answers of all pairs."""
        return float(-self.log_prob.sum() / self.tokens.sum())


def score_answers(
    model: Model, params: Params, pairs: Sequence[TokenizedPair], progress: Progress = silent, prompts: bool = False
) -> AnswerScores:
    """Scores both answers of every pair given its prompt.

    Args:
      params: the model's own or masked ones.
      pairs: from ``tokenize_pair``.
      progress: called with (batches done, batches in all).
      prompts: whether the prompts' log-probabilities are asked for as well; without, the head reads the answers alone.
    """
    starts = np.array([pair.answer_start for pair in pairs], np.int32)
    sums, counts = np.zeros((3, len(pairs))), np.zeros((3, len(pairs)), np.int64)
    mesh, share, bos_id = model.mesh, row_multiple(model.mesh), model.tokenizer.bos_token_id
    opening = 0 if prompts else common_opening(pairs)
    length = cheapest_row_length(pairs, opening)
    batches = pack(pairs, bos_id, length, _BATCH_TOKENS * share, row_multiple=share, opening=opening)
    most = None if prompts else most_marked([_answers(batch, starts) for batch in batches])
    params, decoder = model.with_head(params)
    for number, batch in enumerate(batches, start=1):
        new_sums, new_counts = answer_sums(params, place_rows(batch, mesh), starts, decoder, mesh, most)
        sums += np.asarray(new_sums)
        counts += np.asarray(new_counts)
        progress(number, len(batches))
    return AnswerScores(sums[:2].T, counts[:2].T, sums[2], counts[2])


def _answers(batch: Batch, starts: Any) -> Any:
    """Which tokens are an answer's, bool [B, T]."""
    own = batch.pair >= 0
    return own & (batch.positions > 0) & (batch.positions >= starts[batch.pair * own])


def most_marked(marks: Sequence[np.ndarray]) -> int:
    """Tokens that bool [B, T] marks in the row that has most of them, rounded up so that few shapes compile."""
    most = max(int(marked.sum(axis=1).max()) for marked in marks)
    return min(marks[0].shape[1], -(-most // _STEP) * _STEP)


def places_of(marked: jax.Array, most: int) -> jax.Array:
    """Places int [B, most] of the tokens that bool [B, T] marks, at most so many a row; others fill a row up."""
    return jnp.argsort(~marked, axis=1, stable=True)[:, :most]


def token_log_probs(decoder: Decoder, params: Params, batch: Batch, places: jax.Array | None = None) -> jax.Array:
    """Log-probability of each token given those before it in its text, float32 [B, T]; meaningless where a text starts.

    Args:
      places: int [B, N], of which tokens; by default of all.
    """
    inputs = {"positions": batch.positions, "visible": batch.visible()}
    hidden = decoder.apply({"params": params}, batch.tokens, **inputs, method="hidden")
    return next_log_probs(decoder, params, jnp.asarray(hidden), batch, places)


def next_log_probs(
    decoder: Decoder, params: Params, hidden: jax.Array, batch: Batch, places: jax.Array | None = None
) -> jax.Array:
    """As ``token_log_probs``, from the batch's final hidden states [B, T, hidden]; of the ``places`` int [B, N] alone if given.

    Logits are formed a row at a time, and again on a backward pass: a whole batch of them would not fit into memory.
    """
    previous, tokens = batch.previous(), batch.tokens
    if places is not None:
        previous, tokens = (jnp.take_along_axis(jnp.asarray(each), places, axis=1) for each in (previous, tokens))
    before = jnp.take_along_axis(hidden, previous[..., None], axis=1)

    @jax.checkpoint
    def row(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, tokens = args
        logits = jnp.asarray(decoder.apply({"params": params}, hidden, method="logits"))
        return jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)

    return jax.lax.map(row, (before, tokens))


@functools.partial(jax.jit, static_argnames=("decoder", "mesh", "most"))
def answer_sums(
    params: Params, batch: Batch, starts: Any, decoder: Decoder, mesh: Mesh | None = None, most: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Summed log-probability and number of both answers' tokens and the prompt's, [3, pairs]; zero for pairs not in the batch.

    Args:
      starts: int [pairs], the ``answer_start`` of every pair.
      mesh: among whose devices the rows are shared.
      most: if given, no row has more answer tokens, and prompts are left out.
    """
    local = functools.partial(_local_answer_sums, decoder, most)
    return pin_moments(add_over_rows(local, mesh, (params, jnp.asarray(starts)), (batch,)), mesh)


def _local_answer_sums(
    decoder: Decoder, most: int | None, params: Params, starts: jax.Array, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    pair, branch, answer = jnp.asarray(batch.pair), jnp.asarray(batch.branch), _answers(batch, starts)
    prompt, places = (pair >= 0) & (batch.positions > 0) & ~answer, None
    if most is not None:
        places = places_of(answer, most)
        pair, branch, answer = (jnp.take_along_axis(each, places, axis=1) for each in (pair, branch, answer))
        prompt = jnp.zeros_like(answer)
    log_probs = token_log_probs(decoder, params, batch, places)
    mine = jnp.stack([*(answer & (branch != other) for other in (NOT_MATCHING, MATCHING)), prompt])

    def per_pair(values: jax.Array) -> jax.Array:
        return jnp.zeros(len(starts), values.dtype).at[pair].add(values)

    sums = jax.vmap(lambda mask: per_pair(jnp.where(mask, log_probs, 0)))(mine)
    return sums, jax.vmap(lambda mask: per_pair(mask.astype(jnp.int32)))(mine)
