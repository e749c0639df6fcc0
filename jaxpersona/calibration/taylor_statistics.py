"""Collects the statistics of contrastive Taylor pruning: gradients of the answers' log-probabilities, and Fisher factors.

The factors are the mean of those over text the model generates and those over the calibration pairs. The former preserve the
model's behaviour elsewhere. The latter keep the shift of the margin alike from pair to pair, so that it does not overfit the
calibration pairs.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jaxpersona.calibration import factor_cache, fisher, generated_text
from jaxpersona.calibration.fisher import Factors, Gradient
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.calibration.misplaced_answers import misplaced_answers
from jaxpersona.core.mesh import row_multiple
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, Batch, choose_row_length, pack, shared_prefix_length, whole_rows
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models.model import Model

BATCH_TOKENS = 1024
"""Per device. Each batch passes over all sums once; more tokens save little time and take memory."""


@dataclasses.dataclass(frozen=True)
class TaylorStatistics:
    """Gradient and curvature of a model at its parameters.

    Attributes:
      margin: gradient of the pairs' mean margin (nats per answer token) with respect to the kernels, bfloat16 [layer, in, out] by
        path.
      factors: Kronecker factors of the Fisher information.
      shared: gradient of what both personas gain alike (``collect_shared``), in the same unit; None if not collected.
    """

    margin: Gradient
    factors: Factors
    shared: Gradient | None = None


def collect(
    model: Model,
    pairs: Sequence[TokenizedPair],
    seed: int = 42,
    stage: Stage = QUIET,
    amount: TextAmount | None = None,
    reuse_factors: bool = False,
) -> TaylorStatistics:
    """Collects the statistics from calibration pairs and from text that the model generates.

    Args:
      pairs: from ``tokenize_pair``.
      seed: of the generated text.
      stage: progress and checkpoints, in three parts.
      amount: how much text the model generates; default 48 texts of 128 tokens.
      reuse_factors: keeps factors from generated text in the cache folder, and takes them from there (``factor_cache.py``).
    """
    amount = amount or TextAmount()
    make = functools.partial(_of_generated_text, model, amount, seed, stage)
    neutral = factor_cache.reuse(model, amount, seed, make, stage) if reuse_factors else make()
    gradient, factors = fisher.collect_both(model, *pair_batches(model, pairs), neutral, stage.part("pairs"))
    return TaylorStatistics(fisher.rounded_mean(gradient, answer_tokens(model, pairs)), factors)


def _of_generated_text(model: Model, amount: TextAmount, seed: int, stage: Stage) -> Factors:
    """Returns Kronecker factors over text that the model generates."""
    text = stage.part("generate text")
    text.progress(0, 1)
    tokens = text.once(lambda: {"tokens": generated_text.generate(model, amount, seed)})["tokens"]
    text.progress(1, 1)
    return neutral_factors(model, tokens, stage.part("generated text"))


def collect_shared(
    model: Model, pairs: Sequence[TokenizedPair], own_weight: float, misplaced_weight: float, stage: Stage = QUIET
) -> Gradient:
    """Returns the gradient ``TaylorStatistics.shared``; ``stage`` counts groups of batches."""
    batches, shares = shared_batches(model, pairs, own_weight, misplaced_weight)
    return fisher.rounded_mean(fisher.collect_gradient(model, batches, shares, stage), 1.0)


def shared_batches(
    model: Model, pairs: Sequence[TokenizedPair], own_weight: float, misplaced_weight: float
) -> tuple[list[Batch], list[np.ndarray]]:
    """Packs the texts whose log-probabilities count alike for both personas; returns batches and their tokens' weights.

    With b for ``own_weight``, these are the matching answers, with weight b / (1 + b / 2) (see ``taylor_masks.margin_weight``),
    and each kind of ``misplaced_answers``, with weight -``misplaced_weight``; all per token.

    Returns:
      Batches, and by batch the weight of each token's log-probability, float32 [B, T].

    Raises:
      InputError: as ``misplaced_answers``.
    """
    texts: list[TokenizedPair] = []
    weights: list[float] = []
    if own_weight:
        texts += [dataclasses.replace(pair, not_matching=()) for pair in pairs]
        weights += [own_weight / (1 + own_weight / 2) / answer_tokens(model, pairs)] * len(pairs)
    for kind in misplaced_answers(model, pairs) if misplaced_weight else ():
        texts += kind
        weights += [-misplaced_weight / sum(len(text.matching) for text in kind)] * len(kind)
    batches, signs = pair_batches(model, texts, shared_prefix_length(texts))
    of_texts = np.array(weights, np.float32)
    return batches, [sign * of_texts[np.maximum(batch.pair, 0)] for batch, sign in zip(batches, signs, strict=True)]


def pair_batches(model: Model, pairs: Sequence[TokenizedPair], shared_prefix: int = 0) -> tuple[list[Batch], list[np.ndarray]]:
    """Packs the pairs; returns batches, and by batch the sign of each token's log-probability in the margin, float32 [B, T].

    Tokens that both answers begin with have sign 0: they cancel in the margin. So has the end of the turn, because a model that
    is made to end its turn gives empty answers.

    Args:
      model: whose tokenizer and mesh count.
      pairs: at least one.
      shared_prefix: as for ``pack``; 0 for factors, which sum squares of gradients.
    """
    devices, bos = row_multiple(model.mesh), model.tokenizer.bos_token_id
    length = choose_row_length(pairs, shared_prefix)
    batches = pack(pairs, bos, length, BATCH_TOKENS * devices, row_multiple=devices, shared_prefix=shared_prefix)
    starts, spoken = np.array([len(pair.prefix) for pair in pairs]), _spoken(model, pairs)
    return batches, [_signs(batch, starts, spoken) for batch in batches]


def _signs(batch: Batch, starts: np.ndarray, spoken: np.ndarray) -> np.ndarray:
    pair, branch = np.asarray(batch.pair), np.asarray(batch.branch)
    own = np.maximum(pair, 0)
    within = np.asarray(batch.positions) - starts[own]
    signs = [((branch == kind) & (within < spoken[own, column])) for column, kind in enumerate((MATCHING, NOT_MATCHING))]
    return signs[0].astype(np.float32) - signs[1].astype(np.float32)


def _spoken(model: Model, pairs: Sequence[TokenizedPair]) -> np.ndarray:
    """Returns the number of tokens of both answers before the end of the turn, int [pairs, 2]."""
    ends = {*model.eos_ids, *model.tokenizer.all_special_ids}
    answers = [(pair.matching, pair.not_matching) for pair in pairs]
    return np.array([[next((i for i, t in enumerate(ids) if t in ends), len(ids)) for ids in both] for both in answers])


def answer_tokens(model: Model, pairs: Sequence[TokenizedPair]) -> float:
    """Returns the number of answer tokens of all pairs, averaged over the two personas, without ends of turns."""
    return max(1.0, float(_spoken(model, pairs).sum()) / 2)


def neutral_factors(model: Model, tokens: np.ndarray, stage: Stage = QUIET) -> Factors:
    """Returns Kronecker factors over texts int32 [n, length]."""
    return fisher.collect(model, *neutral_batches(model, tokens), stage)


def neutral_batches(model: Model, tokens: np.ndarray) -> tuple[list[Batch], list[np.ndarray]]:
    """Batches texts int32 [n, length]; returns batches, and by batch 1 for every predicted token, float32 [B, T].

    BOS counts, unlike in statistics of personas: some weights act on it alone, and removing one ruins the model (super weights;
    Yu et al., 2024).
    """
    devices, most = row_multiple(model.mesh), max(1, BATCH_TOKENS // tokens.shape[1])
    # At most as many rows per device as without a mesh, and a divisor of n if there is one, so that no text is left out.
    rows = max((rows for rows in range(devices, most * devices + 1, devices) if len(tokens) % rows == 0), default=most)
    batches = whole_rows(tokens[: len(tokens) // rows * rows], None, rows)
    return batches, [np.asarray(batch.positions > 0, np.float32) for batch in batches]
