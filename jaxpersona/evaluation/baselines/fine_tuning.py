"""Fine-tuning on the calibration pairs: SFT and DPO, of whole kernels or with LoRA.

The losses are

    SFT    - mean over the tokens of the persona's answers of log p(token | prompt, tokens before)
    DPO    - mean over pairs of log sigmoid(beta (m - m_0))

where m = log p(persona's answer | prompt) - log p(opposite answer | prompt), and m_0 is m of the base model (Rafailov et al.,
2023, Eq. 7). The trained weights are the maskable kernels, whole or by low-rank updates W + alpha / rank A B (LoRA, Hu et al.,
2022). Embeddings, norms and head are frozen. Training is in float32, because the model's dtype may round small steps away.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.evaluation.answers import answer_sums, in_answers, score_answers
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.log_probs import most_marked
from jaxpersona.models.model import Model
from jaxpersona.models.sites import kernels, with_kernels

_VALIDATION_SHARE = 0.2
_ROW = 256  # tokens per backward pass, which keeps the activations of all layers


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning.

    Attributes:
      objective: ``sft`` raises the likelihood of the persona's answers, ``dpo`` their likelihood relative to the opposite ones.
      lora_rank: rank of LoRA updates; None trains the kernels themselves.
      lora_alpha: updates are scaled by ``lora_alpha / lora_rank``.
      learning_rate: of AdamW (no weight decay, gradients clipped at norm 1); None selects 2e-5, or 2e-4 for LoRA.
      max_epochs: maximum passes over the training pairs.
      patience: training stops after this many epochs without a better validation loss; the best epoch is kept.
      batch_size: pairs per step. Gradients accumulate over rows of 256 tokens, so memory does not grow with it.
      beta: weight of DPO's margin (an inverse temperature).
      seed: of the validation split, the order of pairs and LoRA's initial values.

    Raises:
      InputError: if the objective is unknown or a number is out of range.
    """

    objective: Literal["sft", "dpo"] = "sft"
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    learning_rate: float | None = None
    max_epochs: int = 5
    patience: int = 1
    batch_size: int = 8
    beta: float = 0.1
    seed: int = 42

    def __post_init__(self) -> None:
        if self.objective not in ("sft", "dpo"):
            raise InputError(f"objective {self.objective!r} is unknown; known: dpo, sft")
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", 2e-5 if self.lora_rank is None else 2e-4)
        for key in ("lora_rank", "max_epochs", "patience", "batch_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise InputError(f"{key} is {value}; give at least 1")
        for key in ("lora_alpha", "learning_rate", "beta"):
            if not 0 < getattr(self, key) < float("inf"):
                raise InputError(f"{key} is {getattr(self, key)}; it must be above 0")


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model.

    Attributes:
      params: parameters of the best epoch, with LoRA updates added to the kernels.
      training: mean training loss during each epoch (nats per token for SFT, nats per pair for DPO).
      validation: validation loss before training and after each epoch, in the same unit.
      best_epoch: the epoch of ``params``; 0 is the base model.
    """

    params: Params
    training: tuple[float, ...]
    validation: tuple[float, ...]
    best_epoch: int


def fine_tune(
    model: Model,
    pairs: Sequence[TokenizedPair],
    options: FineTuning | None = None,
    persona: int = 0,
    validation: Sequence[TokenizedPair] | None = None,
    stage: Stage = QUIET,
) -> FineTuned:
    """Trains the model towards one persona until the validation loss stops improving.

    Args:
      pairs: from ``tokenize_pair``.
      options: default SFT of whole kernels.
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      validation: pairs for early stopping. Default: a fifth of ``pairs``, drawn with the seed and excluded from training.
      stage: progress counts steps, per epoch.

    Raises:
      InputError: if there is no pair to train on or none to validate on.
    """
    options = options or FineTuning()
    training, validating = split(pairs, options.seed) if validation is None else (pairs, validation)
    if not training or not validating:
        raise InputError("fine-tuning needs at least one pair to train on and one to validate on")
    train, stop = (_examples(model, part, options, persona) for part in (training, validating))
    weights = best = _start(model.params, options)
    optimizer = _optimizer(options.learning_rate)
    state = optimizer.init(weights)
    losses, mean_loss = [], functools.partial(_mean_loss, model, examples=stop, options=options)
    validations, best_epoch = [mean_loss(weights)], 0
    for epoch in range(1, options.max_epochs + 1):
        totals = []
        steps = list(_steps(len(training), options, epoch))
        for number, chosen in enumerate(steps, start=1):
            loss, gradient = _gradient(model, weights, train.take(chosen), options)
            weights, state = _update(weights, state, gradient, optimizer)
            totals.append(float(loss) * len(chosen) / len(training))
            stage.part(f"{options.objective}, epoch {epoch}").progress(number, len(steps))
        losses.append(sum(totals))
        validations.append(mean_loss(weights))
        if validations[-1] < validations[best_epoch]:
            best, best_epoch = weights, epoch
        elif epoch - best_epoch >= options.patience:
            break
    params = model.params if best_epoch == 0 else _assemble(model.params, best, _Loss.of(options).scale)
    return FineTuned(params, tuple(losses), tuple(validations), best_epoch)


def split(pairs: Sequence[TokenizedPair], seed: int) -> tuple[list[TokenizedPair], list[TokenizedPair]]:
    """Splits pairs into training pairs and a random fifth (at least one) for validation."""
    chosen = set(np.random.default_rng(seed).permutation(len(pairs))[: max(1, round(_VALIDATION_SHARE * len(pairs)))].tolist())
    return [p for i, p in enumerate(pairs) if i not in chosen], [p for i, p in enumerate(pairs) if i in chosen]


@dataclasses.dataclass(frozen=True)
class _Loss:
    """The options that compiled functions depend on; ``scale`` multiplies LoRA's updates, None without LoRA."""

    objective: Literal["sft", "dpo"]
    beta: float
    scale: float | None

    @classmethod
    def of(cls, options: FineTuning) -> "_Loss":
        scale = None if options.lora_rank is None else options.lora_alpha / options.lora_rank
        return cls(options.objective, options.beta, scale)


def dpo_loss(margin: jax.Array, reference: jax.Array | np.ndarray, beta: float) -> jax.Array:
    """Returns -log sigmoid(beta (margin - reference)) of each pair, from log-probability margins in nats."""
    return jax.nn.softplus(-beta * (margin - reference))


@dataclasses.dataclass(frozen=True)
class _Examples:
    """Training examples.

    Attributes:
      pairs: pairs with the persona's answer first.
      reference: float [n], margins of the base model in nats (zero for SFT).
      sizes: float [n], weights in the mean loss: tokens for SFT, 1 for DPO.
    """

    pairs: list[TokenizedPair]
    reference: np.ndarray
    sizes: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Examples":
        return _Examples([self.pairs[i] for i in chosen], self.reference[chosen], self.sizes[chosen])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Portion:
    """One row of packed pairs, and per pair of the step, arrays [batch_size], its start, reference margin and loss weight.

    The head is evaluated at ``most`` tokens of the row.
    """

    batch: Batch
    starts: np.ndarray
    reference: np.ndarray
    weights: np.ndarray
    most: int = dataclasses.field(metadata={"static": True})


def _examples(model: Model, pairs: Sequence[TokenizedPair], options: FineTuning, persona: int) -> _Examples:
    pairs = [pair.swapped() if persona else pair for pair in pairs]
    if options.objective == "dpo":
        exact = dataclasses.replace(model, batch_dtype=None, quick_forms=False)  # as in training
        before = score_answers(exact, model.params, pairs).log_prob
        return _Examples(pairs, before[:, 0] - before[:, 1], np.ones(len(pairs)))
    tokens = [pair.answer_tokens[0] for pair in pairs]
    matching = [dataclasses.replace(pair, not_matching=()) for pair in pairs]  # SFT drops the opposite answer
    return _Examples(matching, np.zeros(len(pairs)), np.array(tokens, float))


def _steps(count: int, options: FineTuning, epoch: int) -> Iterator[np.ndarray]:
    """Yields the pair indices of each step of an epoch."""
    order = np.random.default_rng([options.seed, epoch]).permutation(count)
    yield from (order[start : start + options.batch_size] for start in range(0, count, options.batch_size))


def _portions(model: Model, examples: _Examples, options: FineTuning, total: float) -> Iterator[_Portion]:
    """Yields rows of at most ``batch_size`` examples, all of one shape; ``total`` is the divisor of the mean loss."""
    missing = options.batch_size - len(examples.pairs)

    def filled(values: Any, dtype: Any) -> np.ndarray:
        return np.pad(np.asarray(values, dtype), (0, missing))

    starts = filled([pair.answer_start for pair in examples.pairs], np.int32)
    reference = filled(examples.reference, np.float32)
    for batch in pack(examples.pairs, model.tokenizer.bos_token_id, _ROW, _ROW, shrink=False):
        inside = np.isin(np.arange(options.batch_size), np.asarray(batch.pair))
        weights, most = (inside / total).astype(np.float32), most_marked([in_answers(batch, starts)])
        yield _Portion(batch, starts, reference, weights, most)


def _portion_loss(weights: Any, params: Params, portion: _Portion, decoder: Decoder, loss: _Loss) -> jax.Array:
    """Returns a portion's contribution to the mean loss."""
    assembled = _assemble(params, weights, loss.scale)
    sums, _ = answer_sums(assembled, portion.batch, portion.starts, decoder, most=portion.most)
    persona, opposite, _ = sums
    losses = -persona if loss.objective == "sft" else dpo_loss(persona - opposite, portion.reference, loss.beta)
    return jnp.sum(losses * portion.weights)


_portion_loss_alone = jax.jit(_portion_loss, static_argnames=("decoder", "loss"))


def _mean_loss(model: Model, weights: Any, examples: _Examples, options: FineTuning) -> float:
    total, loss = examples.sizes.sum(), 0.0
    for start in range(0, len(examples.pairs), options.batch_size):
        chosen = np.arange(start, min(start + options.batch_size, len(examples.pairs)))
        for portion in _portions(model, examples.take(chosen), options, total):
            loss += float(_portion_loss_alone(weights, model.params, portion, model.decoder, _Loss.of(options)))
    return loss


def _gradient(model: Model, weights: Any, examples: _Examples, options: FineTuning) -> tuple[jax.Array, Any]:
    """Returns the mean loss of a step's examples and its gradient."""
    total = jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights)
    for portion in _portions(model, examples, options, examples.sizes.sum()):
        total = _add_gradient(total, weights, model.params, portion, model.decoder, _Loss.of(options))
    return total


@functools.partial(jax.jit, static_argnames=("decoder", "loss"), donate_argnames="total")
def _add_gradient(total: Any, weights: Any, params: Params, portion: _Portion, decoder: Decoder, loss: _Loss) -> Any:
    return jax.tree.map(jnp.add, total, jax.value_and_grad(_portion_loss)(weights, params, portion, decoder, loss))


@functools.cache
def _optimizer(learning_rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(learning_rate, weight_decay=0.0))


@functools.partial(jax.jit, static_argnames="optimizer", donate_argnames=("state", "gradient"))
def _update(weights: Any, state: Any, gradient: Any, optimizer: optax.GradientTransformation) -> tuple[Any, Any]:
    change, state = optimizer.update(gradient, state, weights)
    return optax.apply_updates(weights, change), state


def _start(params: Params, options: FineTuning) -> dict[str, Any]:
    """Returns the initial trained weights by kernel path, float32.

    These are the kernels, or LoRA's A [layer, in, rank] (random) and B [layer, rank, out] (zero).
    """
    weights: dict[str, Any] = {}
    for number, (path, kernel) in enumerate(kernels(params).items()):
        if options.lora_rank is None:
            weights[path] = kernel.astype(jnp.float32)
            continue
        layers, inputs, outputs = kernel.shape
        key = jax.random.fold_in(jax.random.key(options.seed), number)
        a = jax.random.normal(key, (layers, inputs, options.lora_rank)) / np.sqrt(inputs)
        weights[path] = {"a": a, "b": jnp.zeros((layers, options.lora_rank, outputs))}
    return weights


def _assemble(params: Params, weights: dict[str, Any], scale: float | None) -> Params:
    """Returns the parameters with the trained kernels in the model's dtype; ``scale`` is LoRA's, None without LoRA."""

    def kernel(path: str, base: jax.Array) -> jax.Array:
        if scale is None:
            return weights[path].astype(base.dtype)
        return (base + scale * (weights[path]["a"] @ weights[path]["b"])).astype(base.dtype)

    return with_kernels(params, {path: kernel(path, base) for path, base in kernels(params).items()})
