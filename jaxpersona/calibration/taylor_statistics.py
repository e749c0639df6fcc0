"""What contrastive Taylor pruning needs to know of a model: the gradient of the margin, and Kronecker factors of the Fisher.

The factors come in equal parts from text the model generates and from the calibration pairs: the former keeps the model what it
is elsewhere, the latter keeps the shift of the margin alike from pair to pair, without which it is fitted to the calibration
pairs.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxpersona.calibration import fisher, generated_text
from jaxpersona.calibration.fisher import Factors, Gradient
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.core.mesh import row_multiple
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, Batch, choose_row_length, pack, whole_rows
from jaxpersona.data.text import TokenizedPair
from jaxpersona.models.model import Model

_BATCH_TOKENS = 512  # activations of all layers are kept for the backward pass


@dataclasses.dataclass(frozen=True)
class TaylorStatistics:
    """Gradient and curvature.

    Attributes:
      margin: gradient of the mean margin of the pairs, in nats per answer token, with respect to the kernels.
      factors: Kronecker factors of the Fisher information.
    """

    margin: Gradient
    factors: Factors


def collect(
    model: Model, pairs: Sequence[TokenizedPair], seed: int = 42, stage: Stage = QUIET, amount: TextAmount | None = None
) -> TaylorStatistics:
    """Collects the statistics from calibration pairs and from text that the model generates with ``seed``.

    Args:
      amount: how much text the model generates; None is the default.
    """
    margin, own = _of_pairs(model, pairs, stage.part("pairs"))
    text = stage.part("generate text")
    text.progress(0, 1)
    tokens = text.once(lambda: {"tokens": generated_text.generate(model, amount, seed)})["tokens"]
    text.progress(1, 1)
    neutral = neutral_factors(model, tokens, stage.part("generated text"))
    return TaylorStatistics(margin, jax.tree.map(lambda a, b: (a + b) / 2, own, neutral))


def _of_pairs(model: Model, pairs: Sequence[TokenizedPair], stage: Stage) -> tuple[Gradient, Factors]:
    """Gradient of the margin, and Kronecker factors over the pairs' own tokens."""
    gradient, factors = fisher.collect(model, *pair_batches(model, pairs), gradient=True, stage=stage)
    assert gradient is not None
    return jax.tree.map(lambda leaf: leaf / answer_tokens(pairs), gradient), factors


def pair_batches(model: Model, pairs: Sequence[TokenizedPair]) -> tuple[list[Batch], list[np.ndarray]]:
    """Packs the pairs; returns batches, and the sign of each token's log-probability in the margin, float32 [B, T]."""
    devices = row_multiple(model.mesh)
    length = choose_row_length(pairs)
    batches = pack(pairs, model.tokenizer.bos_token_id, length, _BATCH_TOKENS * devices, row_multiple=devices)
    # Tokens that the answers share are the same in both and do not count.
    kinds = [np.asarray(batch.branch) for batch in batches]
    signs = [((kind == MATCHING).astype(np.float32) - (kind == NOT_MATCHING)).astype(np.float32) for kind in kinds]
    return batches, signs


def answer_tokens(pairs: Sequence[TokenizedPair]) -> float:
    """Returns the number of answer tokens, its mean over the two personas."""
    return sum(len(pair.matching) + len(pair.not_matching) for pair in pairs) / 2


def neutral_factors(model: Model, tokens: np.ndarray, stage: Stage = QUIET) -> Factors:
    """Returns Kronecker factors over texts int32 [n, length]."""
    return fisher.collect(model, *neutral_batches(model, tokens), gradient=False, stage=stage)[1]


def neutral_batches(model: Model, tokens: np.ndarray) -> tuple[list[Batch], list[np.ndarray]]:
    """Batches texts int32 [n, length]; returns batches, and 1 for every token that is predicted, float32 [B, T]."""
    devices, most = row_multiple(model.mesh), max(1, _BATCH_TOKENS // tokens.shape[1])
    # as many rows a device as without a mesh, or fewer, so that no text is left out
    rows = max((rows for rows in range(devices, most * devices + 1, devices) if len(tokens) % rows == 0), default=most)
    batches = whole_rows(tokens[: len(tokens) // rows * rows], model.tokenizer.bos_token_id, rows)
    return batches, [np.asarray(batch.positions > 0, np.float32) for batch in batches]
