"""Collects the statistics of contrastive Taylor pruning: the margin's gradient, and Kronecker factors of the Fisher information.

The factors are the mean of those over text the model generates and those over the calibration pairs. The former preserve the
model's behaviour elsewhere. The latter keep the shift of the margin alike from pair to pair, so that it does not overfit the
calibration pairs.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxpersona.calibration import fisher, generated_text
from jaxpersona.calibration.fisher import Factors, Gradient
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.core.mesh import row_multiple
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, Batch, choose_row_length, pack, whole_rows
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models.model import Model

_BATCH_TOKENS = 256  # activations of all layers are kept for the backward pass


@dataclasses.dataclass(frozen=True)
class TaylorStatistics:
    """Gradient and curvature of a model at its parameters.

    Attributes:
      margin: gradient of the pairs' mean margin (nats per answer token) with respect to the kernels, float32 [layer, in, out] by
        path.
      factors: Kronecker factors of the Fisher information.
    """

    margin: Gradient
    factors: Factors


def collect(
    model: Model, pairs: Sequence[TokenizedPair], seed: int = 42, stage: Stage = QUIET, amount: TextAmount | None = None
) -> TaylorStatistics:
    """Collects the statistics from calibration pairs and from text that the model generates.

    Args:
      pairs: from ``tokenize_pair``.
      seed: of the generated text.
      stage: progress and checkpoints, in three parts.
      amount: how much text the model generates; default 48 texts of 128 tokens.
    """
    margin, paired = _of_pairs(model, pairs, stage.part("pairs"))
    text = stage.part("generate text")
    text.progress(0, 1)
    tokens = text.once(lambda: {"tokens": generated_text.generate(model, amount, seed)})["tokens"]
    text.progress(1, 1)
    neutral = neutral_factors(model, tokens, stage.part("generated text"))
    return TaylorStatistics(margin, fisher.mean_of(paired, neutral))


def _of_pairs(model: Model, pairs: Sequence[TokenizedPair], stage: Stage) -> tuple[Gradient, Factors]:
    """Returns the gradient of the margin, and Kronecker factors over the pairs' tokens."""
    gradient, factors = fisher.collect(model, *pair_batches(model, pairs), gradient=True, stage=stage)
    assert gradient is not None
    return fisher.divided(gradient, answer_tokens(pairs)), factors


def pair_batches(model: Model, pairs: Sequence[TokenizedPair]) -> tuple[list[Batch], list[np.ndarray]]:
    """Packs the pairs; returns batches, and by batch the sign of each token's log-probability in the margin, float32 [B, T]."""
    devices = row_multiple(model.mesh)
    length = choose_row_length(pairs)
    batches = pack(pairs, model.tokenizer.bos_token_id, length, _BATCH_TOKENS * devices, row_multiple=devices)
    # Tokens that both answers begin with have sign 0: they cancel in the margin.
    kinds = [np.asarray(batch.branch) for batch in batches]
    signs = [((kind == MATCHING).astype(np.float32) - (kind == NOT_MATCHING)).astype(np.float32) for kind in kinds]
    return batches, signs


def answer_tokens(pairs: Sequence[TokenizedPair]) -> float:
    """Returns the number of answer tokens of all pairs, averaged over the two personas."""
    return sum(len(pair.matching) + len(pair.not_matching) for pair in pairs) / 2


def neutral_factors(model: Model, tokens: np.ndarray, stage: Stage = QUIET) -> Factors:
    """Returns Kronecker factors over texts int32 [n, length]."""
    return fisher.collect(model, *neutral_batches(model, tokens), gradient=False, stage=stage)[1]


def neutral_batches(model: Model, tokens: np.ndarray) -> tuple[list[Batch], list[np.ndarray]]:
    """Batches texts int32 [n, length]; returns batches, and by batch 1 for every predicted token, float32 [B, T]."""
    devices, most = row_multiple(model.mesh), max(1, _BATCH_TOKENS // tokens.shape[1])
    # At most as many rows per device as without a mesh, and a divisor of n if there is one, so that no text is left out.
    rows = max((rows for rows in range(devices, most * devices + 1, devices) if len(tokens) % rows == 0), default=most)
    batches = whole_rows(tokens[: len(tokens) // rows * rows], model.tokenizer.bos_token_id, rows)
    return batches, [np.asarray(batch.positions > 0, np.float32) for batch in batches]
