"""Scores the answers of pairs: log-probabilities given the prompt, from packed batches that compute each prompt once."""

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
from jaxpersona.models.log_probs import most_marked, next_log_probs, places_of
from jaxpersona.models.model import Model

_BATCH_TOKENS = 2048  # per device


@dataclasses.dataclass(frozen=True)
class AnswerScores:
    """Log-probabilities of both answers of every pair, in nats. Column 0 is the matching answer, column 1 the opposite one.

    Attributes:
      log_prob: float64 [pairs, 2], summed over the answer's tokens and its end-of-turn token.
      tokens: int64 [pairs, 2], number of those tokens.
      prompt_log_prob: float64 [pairs], summed over the tokens before the answers, without the first; 0 if not requested.
      prompt_tokens: int64 [pairs], number of those tokens.
    """

    log_prob: np.ndarray
    tokens: np.ndarray
    prompt_log_prob: np.ndarray
    prompt_tokens: np.ndarray

    def __getitem__(self, some: slice | np.ndarray) -> "AnswerScores":
        """Returns the scores of some of the pairs: a slice, or those where a bool array is True."""
        return AnswerScores(*(getattr(self, field.name)[some] for field in dataclasses.fields(self)))

    def first_not_finite(self) -> int | None:
        """Returns the index of the first pair with a log-probability that is not finite; None if there is none."""
        broken = ~(np.isfinite(self.log_prob).all(axis=1) & np.isfinite(self.prompt_log_prob))
        return int(broken.argmax()) if broken.any() else None

    def nll(self) -> float:
        """Returns the mean negative log-likelihood over all answer tokens of both answers, in nats per token; NaN without any."""
        return float(-self.log_prob.sum() / self.tokens.sum()) if self.tokens.any() else float("nan")

    def known(self) -> np.ndarray:
        """Returns ``log_prob`` with NaN for an answer without a predictable token: one that is the first token of its text."""
        return np.where(self.tokens > 0, self.log_prob, np.nan)


def score_answers(
    model: Model, params: Params, pairs: Sequence[TokenizedPair], stage: Stage = QUIET, prompts: bool = False
) -> AnswerScores:
    """Scores both answers of every pair given its prompt.

    Args:
      params: the model's parameters, or a masked or trained version of them.
      pairs: from ``tokenize_pair``.
      stage: progress counts batches.
      prompts: if True, also scores the prompts; if False, the head is evaluated at answer tokens only.
    """
    sums, counts = np.zeros((3, len(pairs))), np.zeros((3, len(pairs)), np.int64)
    batches, starts, most = pack_answers(model, pairs, prompts)
    params, decoder = model.with_head(params)
    for number, batch in enumerate(batches, start=1):
        new_sums, new_counts = answer_sums(params, place_rows(batch, model.mesh), starts, decoder, model.mesh, most)
        sums += np.asarray(new_sums)
        counts += np.asarray(new_counts)
        stage.progress(number, len(batches))
    return AnswerScores(sums[:2].T, counts[:2].T, sums[2], counts[2])


def pack_answers(model: Model, pairs: Sequence[TokenizedPair], prompts: bool = False) -> tuple[list[Batch], Any, int | None]:
    """Packs pairs for the scoring of their answers.

    Args:
      model: for which they are packed.
      pairs: from ``tokenize_pair``.
      prompts: whether prompts are scored too.

    Returns:
      The batches; int32 [pairs], the ``answer_start`` of every pair; and the maximum number of answer tokens in a row, None with
      ``prompts``.
    """
    starts = np.array([pair.answer_start for pair in pairs], np.int32)
    multiple, prefix = row_multiple(model.mesh), 0 if prompts else shared_prefix_length(pairs)
    options = {"row_multiple": multiple, "shared_prefix": prefix}
    length = choose_row_length(pairs, prefix)
    batches = pack(pairs, model.tokenizer.bos_token_id, length, _BATCH_TOKENS * multiple, **options)
    return batches, starts, None if prompts else most_marked([in_answers(batch, starts) for batch in batches])


def in_answers(batch: Batch, starts: Any) -> Any:
    """Returns which tokens belong to an answer, bool [B, T]; ``starts`` as for ``answer_sums``."""
    own = batch.pair >= 0
    return own & (batch.positions > 0) & (batch.positions >= starts[batch.pair * own])


@functools.partial(jax.jit, static_argnames=("decoder", "mesh", "most"))
def answer_sums(
    params: Params, batch: Batch, starts: Any, decoder: Decoder, mesh: Mesh | None = None, most: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Sums a batch's log-probabilities for the matching answer, the opposite answer and the prompt of every pair.

    Args:
      starts: int [pairs], the ``answer_start`` of every pair.
      mesh: devices that the rows are sharded over.
      most: maximum number of answer tokens in a row; if given, prompts are not scored.

    Returns:
      The summed log-probabilities in nats, float32 [3, pairs], and the numbers of tokens, int32 [3, pairs]; both zero for pairs
      outside the batch.
    """
    local = functools.partial(_local_answer_sums, decoder, most)
    return pin_moments(add_over_rows(local, mesh, (params, jnp.asarray(starts)), (batch,)), mesh)


def _local_answer_sums(
    decoder: Decoder, most: int | None, params: Params, starts: jax.Array, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    inputs = {"positions": batch.positions, "visible": batch.visible()}
    hidden = decoder.apply({"params": params}, batch.tokens, **inputs, method="hidden")
    return sums_of_hidden(decoder, most, params, starts, batch, jnp.asarray(hidden))


def sums_of_hidden(
    decoder: Decoder, most: int | None, params: Params, starts: jax.Array, batch: Batch, hidden: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns ``answer_sums`` from the batch's final hidden states [B, T, hidden]; for use under ``jax.jit``."""
    pair, branch, answer = jnp.asarray(batch.pair), jnp.asarray(batch.branch), in_answers(batch, starts)
    prompt, places = (pair >= 0) & (batch.positions > 0) & ~answer, None
    if most is not None:
        places = places_of(answer, most)
        pair, branch, answer = (jnp.take_along_axis(each, places, axis=1) for each in (pair, branch, answer))
        prompt = jnp.zeros_like(answer)
    log_probs = next_log_probs(decoder, params, hidden, batch, places)
    scored = jnp.stack([*(answer & (branch != other) for other in (NOT_MATCHING, MATCHING)), prompt])

    def per_pair(values: jax.Array) -> jax.Array:
        return jnp.zeros(len(starts), values.dtype).at[pair].add(values)

    sums = jax.vmap(lambda mask: per_pair(jnp.where(mask, log_probs, 0)))(scored)
    return sums, jax.vmap(lambda mask: per_pair(mask.astype(jnp.int32)))(scored)
