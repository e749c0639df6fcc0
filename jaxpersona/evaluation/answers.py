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
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, Batch, choose_row_length, pack, shared_prefix_length
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.log_probs import most_marked, places_of, token_log_probs
from jaxpersona.models.model import Model

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
    model: Model, params: Params, pairs: Sequence[TokenizedPair], stage: Stage = QUIET, prompts: bool = False
) -> AnswerScores:
    """Scores both answers of every pair given its prompt.

    Args:
      params: the model's own or masked ones.
      pairs: from ``tokenize_pair``.
      stage: progress counts batches.
      prompts: whether the prompts' log-probabilities are asked for as well; without, the head reads the answers alone.
    """
    starts = np.array([pair.answer_start for pair in pairs], np.int32)
    sums, counts = np.zeros((3, len(pairs))), np.zeros((3, len(pairs)), np.int64)
    mesh, share, bos_id = model.mesh, row_multiple(model.mesh), model.tokenizer.bos_token_id
    shared = 0 if prompts else shared_prefix_length(pairs)
    length = choose_row_length(pairs, shared)
    batches = pack(pairs, bos_id, length, _BATCH_TOKENS * share, row_multiple=share, shared_prefix=shared)
    most = None if prompts else most_marked([_answers(batch, starts) for batch in batches])
    params, decoder = model.with_head(params)
    for number, batch in enumerate(batches, start=1):
        new_sums, new_counts = answer_sums(params, place_rows(batch, mesh), starts, decoder, mesh, most)
        sums += np.asarray(new_sums)
        counts += np.asarray(new_counts)
        stage.progress(number, len(batches))
    return AnswerScores(sums[:2].T, counts[:2].T, sums[2], counts[2])


def _answers(batch: Batch, starts: Any) -> Any:
    """Which tokens are an answer's, bool [B, T]."""
    own = batch.pair >= 0
    return own & (batch.positions > 0) & (batch.positions >= starts[batch.pair * own])


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
