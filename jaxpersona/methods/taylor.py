"""Contrastive Taylor pruning: masks that remove the weights whose removal turns a model to a persona for the least damage.

Setting a weight w to zero changes a function f of the parameters by -w df/dw, to first order (Taylor pruning; Molchanov et al.,
2019). Let f be the margin of a persona, the log-probability of its answers minus that of the opposite ones, per answer token.
Then removing the set of weights Z from the kernels W

    gains    sum_ij Z_ij gain_ij,  gain_ij = -w_ij df/dw_ij                 in margin, to first order
    damages  1/2 sum_j d_j (D' A D)_jj,  D = W * Z                          in loss, to second order

with the Kronecker factors A, d of the Fisher information (``fisher.py``), in equal parts from text the model writes itself and
from the calibration pairs: the former keeps the model what it is elsewhere, the latter keeps the shift of the margin alike from
pair to pair, without which it is fitted to the calibration pairs. Weights are chosen at a price of damage by coordinate ascent
(``removal.py``), and the price is searched that meets the budget. The opposite persona has the gains -gain. No weight is updated.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration import fisher, generated_text
from jaxpersona.calibration.fisher import Factors, Gradient
from jaxpersona.core.checkpoints import NOTHING, NOWHERE, Checkpoint, Checkpoints
from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import by_output, row_multiple
from jaxpersona.core.progress import Progress, Report, silent
from jaxpersona.data.packing import MATCHING, NOT_MATCHING, Batch, cheapest_row_length, pack, whole_rows
from jaxpersona.data.text import TokenizedPair
from jaxpersona.masks import coordinate_ascent
from jaxpersona.masks.masks import Masks, apply_mask
from jaxpersona.methods.methods import FirstOrder
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import perplexity, read_text, windows
from jaxpersona.models.selector import Selector
from jaxpersona.models.sites import SITE_OF, kernels, module_of
from jaxpersona.models.weights import Params
from jaxpersona.ops import bitpack

_BATCH_TOKENS = 512  # activations of all layers are kept for the backward pass
_BUDGET_TOKENS = 2048
_SHRINKAGE = 0.1  # of the inputs' second moments towards their diagonal, as they come from few tokens
_FIRST_PRICE, _STEPS = 2000.0, 12


AtPrice = Callable[[float], Masks]
"""The masks without the weights whose removal gains more than its damage costs, at a price in margin per nat of loss."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What contrastive Taylor pruning needs to know of a model.

    Attributes:
      margin: gradient of the mean margin of the pairs, in nats per answer token.
      factors: Kronecker factors of the Fisher information.
    """

    margin: Gradient
    factors: Factors


def collect_evidence(
    model: Model,
    pairs: Sequence[TokenizedPair],
    seed: int = 42,
    report: Report = silent,
    checkpoints: Checkpoints = NOWHERE,
) -> Evidence:
    """Evidence from calibration pairs and, to equal parts, from text the model writes itself with ``seed``."""
    margin, own = _pair_evidence(model, pairs, functools.partial(report, "calibrate, pairs"), checkpoints["evidence pairs"])
    report("write own text", 0, 1)
    tokens = checkpoints["own text"].once(lambda: {"tokens": generated_text.write(model, seed=seed)})["tokens"]
    report("write own text", 1, 1)
    progress = functools.partial(report, "calibrate, own text")
    neutral = neutral_factors(model, tokens, progress, checkpoints["evidence own text"])
    return Evidence(margin, jax.tree.map(lambda a, b: (a + b) / 2, own, neutral))


def _pair_evidence(
    model: Model, pairs: Sequence[TokenizedPair], progress: Progress, checkpoint: Checkpoint
) -> tuple[Gradient, Factors]:
    """Gradient of the margin, and Kronecker factors over the pairs' own tokens."""
    batches, signs = pair_batches(model, pairs)
    gradient, factors = fisher.collect(model, batches, signs, True, progress, checkpoint)
    assert gradient is not None
    return jax.tree.map(lambda leaf: leaf / answer_tokens(pairs), gradient), factors


def pair_batches(model: Model, pairs: Sequence[TokenizedPair]) -> tuple[list[Batch], list[np.ndarray]]:
    """The pairs, and of each token whether its log-probability adds to the margin (1) or is taken off (-1), float32 [B, T]."""
    share = row_multiple(model.mesh)
    batches = pack(pairs, model.tokenizer.bos_token_id, cheapest_row_length(pairs), _BATCH_TOKENS * share, row_multiple=share)
    # Tokens that the answers share are the same in both and do not count.
    kinds = [np.asarray(batch.branch) for batch in batches]
    signs = [((kind == MATCHING).astype(np.float32) - (kind == NOT_MATCHING)).astype(np.float32) for kind in kinds]
    return batches, signs


def answer_tokens(pairs: Sequence[TokenizedPair]) -> float:
    """Answer tokens of either persona, its mean over the two."""
    return sum(len(pair.matching) + len(pair.not_matching) for pair in pairs) / 2


def neutral_factors(model: Model, tokens: np.ndarray, progress: Progress = silent, checkpoint: Checkpoint = NOTHING) -> Factors:
    """Kronecker factors over texts int32 [n, length]."""
    batches, shares = neutral_batches(model, tokens)
    return fisher.collect(model, batches, shares, False, progress, checkpoint)[1]


def neutral_batches(model: Model, tokens: np.ndarray) -> tuple[list[Batch], list[np.ndarray]]:
    """Texts int32 [n, length], and which tokens are predicted, float32 [B, T]."""
    share, most = row_multiple(model.mesh), max(1, _BATCH_TOKENS // tokens.shape[1])
    # as many rows a device as without a mesh, or fewer, so that no text is left out
    rows = max((rows for rows in range(share, most * share + 1, share) if len(tokens) % rows == 0), default=most)
    batches = whole_rows(tokens[: len(tokens) // rows * rows], model.tokenizer.bos_token_id, rows)
    shares = [np.asarray(batch.positions > 0, np.float32) for batch in batches]
    return batches, shares


def prune(
    model: Model,
    method: FirstOrder,
    evidence: Evidence,
    persona: int,
    progress: Progress = silent,
    checkpoint: Checkpoint = NOTHING,
) -> Masks:
    """The masks of one persona, of the share or within the damage budget that ``method`` says.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      checkpoint: keeps how far the search for the price is.

    Raises:
      InputError: when fewer weights than the share have a gain at all.
    """
    at_price = functools.partial(remove_at_price, model.params, evidence, persona, method.select)
    if method.max_perplexity_increase is None:
        return prune_share(method, at_price, progress, checkpoint)
    tokens = budget_windows(model, method)
    base = perplexity(model, model.params, tokens)

    def damage(masks: Masks) -> float:
        return math.log(perplexity(model, apply_mask(model.params, masks), tokens) / base)

    return prune_within_budget(method, at_price, damage, progress, checkpoint)


def budget_windows(model: Model, method: FirstOrder) -> np.ndarray:
    """What the damage budget is measured on, int32 [n, length]."""
    return windows(model, read_text(method.budget_text), _BUDGET_TOKENS)


def prune_within_budget(
    method: FirstOrder, at_price: AtPrice, damage: Callable[[Masks], float], progress: Progress, checkpoint: Checkpoint = NOTHING
) -> Masks:
    """The strongest masks whose ``damage``, the increase of the logarithm of perplexity, stays within the budget."""
    assert method.max_perplexity_increase is not None
    found = _search(at_price, damage, math.log1p(method.max_perplexity_increase), 2.5, progress, checkpoint)
    return found or at_price(math.inf)  # nothing is removed where every step cost too much


def prune_share(method: FirstOrder, at_price: AtPrice, progress: Progress, checkpoint: Checkpoint = NOTHING) -> Masks:
    """The masks that remove the share of all weights that ``method`` says.

    Raises:
      InputError: when fewer weights than the share have a gain at all.
    """
    assert method.sparsity is not None
    if method.sparsity == 0:
        return at_price(math.inf)
    found = _search(at_price, lambda masks: 1 - masks.kept(), method.sparsity, 1.0, progress, checkpoint, 0.02)
    if found is None or 1 - found.kept() < 0.9 * method.sparsity:
        raise InputError(f"no {method.sparsity:.1%} of the weights help the persona when removed; give a lower sparsity")
    return found


@dataclasses.dataclass
class _Bracket:
    """Where the search for a price is: between ``low``, which removed too much, and ``high``.

    Attributes:
      step: how many prices were tried.
      price: the next one.
      over, under: the measures at ``low`` and ``high``.
      best: the price of the largest measure within the target, 0 while there is none.
      most: that measure.
    """

    step: int = 0
    price: float = _FIRST_PRICE
    low: float = 0.0
    high: float = math.inf
    over: float = math.inf
    under: float = 0.0
    best: float = 0.0
    most: float = -math.inf


def _search(
    at_price: AtPrice,
    measure: Callable[[Masks], float],
    target: float,
    exponent: float,
    progress: Progress,
    checkpoint: Checkpoint = NOTHING,
    tolerance: float = 0.1,
) -> Masks | None:
    """The masks with the largest measure of at most ``target``, or None if no step came below it.

    The measure falls with the price about as price ** -exponent, which tells the next price to try until one lies on either side
    of the target; then the power of the price that goes through both. Done within ``tolerance`` below the target.
    """
    at = _Bracket(**{name: value.item() for name, value in (checkpoint.load() or {}).items()})
    best: Masks | None = None
    while at.step < _STEPS:
        masks = at_price(at.price)
        value = measure(masks)
        value = value if math.isfinite(value) else math.inf
        if at.most < value <= target:
            best, at.best, at.most = masks, at.price, value
        done = (1 - tolerance) * target <= value <= target
        at.step = _STEPS if done else at.step + 1
        if value <= target:
            at.high, at.under = at.price, value
        else:
            at.low, at.over = at.price, value
        at.price = _next_price(at, value, (1 - tolerance / 2) * target, exponent)
        checkpoint.save(vars(at))
        progress(at.step, _STEPS)
    if best is None and at.best:  # found before the search was resumed
        return at_price(at.best)
    return best


def _next_price(at: _Bracket, value: float, aim: float, exponent: float) -> float:
    """The price at which the measure may be what is aimed at, where it is ``value`` at the last price."""
    if at.low == 0 or at.high == math.inf:
        ratio = min(max(value / aim, 1 / 30), 30.0)  # a measured damage can be negative
        return at.price * ratio ** (1 / exponent)
    if not 0 < at.under < aim < at.over < math.inf:
        return math.sqrt(at.low * at.high)
    share = math.log(at.over / aim) / math.log(at.over / at.under)
    return at.low * (at.high / at.low) ** min(max(share, 0.1), 0.9)


def remove_at_price(params: Params, evidence: Evidence, persona: int, select: str, price: float) -> Masks:
    """Masks without the weights whose removal gains more than its damage costs at ``price``, in margin per nat of loss.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      select: selector of the modules and layers that may be masked.
    """
    eligible = eligible_layers(params, select)
    return Masks.of(params, words_at_price(params, evidence, eligible, persona, price))


def eligible_layers(params: Params, select: str) -> dict[str, np.ndarray]:
    """Which layers of each kernel may be masked, bool [layer] by path."""
    return {path: Selector(select).matches(module_of(path), kernel.shape[0]) for path, kernel in kernels(params).items()}


def words_at_price(
    params: Params, evidence: Evidence, eligible: Mapping[str, np.ndarray], persona: int, price: float
) -> dict[str, jax.Array]:
    """The packed words of ``remove_at_price`` by kernel path, for all layers or some."""
    sign, words = 1.0 - 2 * persona, {}
    for path, kernel in kernels(params).items():
        inputs, outputs = evidence.factors.inputs[SITE_OF[module_of(path)]], evidence.factors.outputs[path]
        kernel, margin = by_output(kernel), by_output(evidence.margin[path])
        words[path] = by_output(_kept(kernel, margin, inputs, outputs, eligible[path], sign, min(price, 1e30)))
    return words


@jax.jit
def _kept(kernel: Any, margin: Any, inputs: Any, outputs: Any, eligible: Any, sign: Any, price: Any) -> jax.Array:
    """Packed words of what one stacked kernel keeps."""

    def layer(args: tuple[Any, ...]) -> jax.Array:
        kernel, margin, inputs, outputs, eligible = args
        weight = kernel.astype(jnp.float32)
        gain = jnp.where(eligible & (weight != 0), -sign * weight * margin, -jnp.inf)
        shrunk = (1 - _SHRINKAGE) * inputs + _SHRINKAGE * jnp.diag(jnp.diag(inputs))
        return bitpack.pack(~coordinate_ascent.choose(weight, gain, shrunk, outputs, price))

    return jax.lax.map(layer, (kernel, margin, inputs, outputs, eligible))


def scores(params: Params, evidence: Evidence, persona: int) -> dict[str, jax.Array]:
    """How much each weight is worth keeping: damage over gain of its removal alone, negated, float32 [layer, in, out] by path."""
    found, sign = {}, 1.0 - 2 * persona
    for path, kernel in kernels(params).items():
        inputs = jnp.diagonal(evidence.factors.inputs[SITE_OF[module_of(path)]], axis1=-2, axis2=-1)
        weight = kernel.astype(jnp.float32)
        damage = 0.5 * jnp.square(weight) * inputs[..., None] * evidence.factors.outputs[path][:, None, :]
        found[path] = sign * weight * evidence.margin[path] / jnp.maximum(damage, jnp.finfo(jnp.float32).tiny)
    return found
