"""Fine-tuning on the calibration pairs, the trained baselines that masks are held against.

    SFT    - mean over the tokens of the persona's answers of log p(token | prompt, tokens before)
    DPO    - mean over pairs of log sigmoid(beta (m - m_0))

where m = log p(persona's answer | prompt) - log p(opposite answer | prompt), and m_0 is m of the model as it is (Rafailov et al.,
2023, Eq. 7). Trained are the kernels a mask chooses among, whole or by low-rank updates W + alpha / rank A B (LoRA, Hu et al.,
2022); embeddings, norms and head stay. Training weights are float32 whatever the model's dtype, which loses small
steps. The result is parameters of the same decoder.
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
from jaxpersona.evaluation.answers import answer_sums, score_answers
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import Model
from jaxpersona.models.sites import kernels, with_kernels

_VALIDATION_SHARE = 0.2
_ROW = 256  # tokens a backward pass: activations of all layers are kept for it


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How to fine-tune.

    Attributes:
      objective: ``sft``, to make the persona's answers likely, or ``dpo``, likelier than the opposite ones.
      lora_rank: rank of LoRA updates; None trains the kernels themselves.
      lora_alpha: updates are scaled by ``lora_alpha / lora_rank``.
      learning_rate: of AdamW (no weight decay, gradients clipped at norm 1); None is 2e-5, or 2e-4 for LoRA.
      max_epochs: passes over the training pairs, at most.
      patience: stop after this many epochs without a better validation loss; the best epoch's parameters are kept.
      batch_size: pairs a step; their gradients are summed over rows of 256 tokens, so memory does not grow with it.
      beta: how strongly DPO weighs the margin (an inverse temperature).
      seed: of the validation split, the order of pairs and LoRA's start.
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
      params: the parameters of the best epoch, LoRA updates added to the kernels.
      training: mean loss of each epoch while it was trained.
      validation: validation loss before training and after each epoch.
      best_epoch: the epoch that was kept; 0 is the model as it is.
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
    """Trains the model towards one persona, until the validation loss gets no better.

    Args:
      pairs: from ``tokenize_pair``.
      options: default SFT of whole kernels.
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      validation: pairs that stop training; default a fifth of ``pairs``, drawn with the seed and then not trained on.
      stage: progress.

    Raises:
      InputError: when there are fewer than two pairs to split, or none to train or to validate on.
    """
    options = options or FineTuning()
    training, held = split(pairs, options.seed) if validation is None else (pairs, validation)
    if not training or not held:
        raise InputError("fine-tuning needs at least one pair to train on and one to validate on")
    train, stop = (_examples(model, part, options, persona) for part in (training, held))
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
    """The pairs to train on, and the fifth of them (at least one) to validate on, drawn with ``seed``."""
    held = set(np.random.default_rng(seed).permutation(len(pairs))[: max(1, round(_VALIDATION_SHARE * len(pairs)))].tolist())
    return [p for i, p in enumerate(pairs) if i not in held], [p for i, p in enumerate(pairs) if i in held]


@dataclasses.dataclass(frozen=True)
class _Loss:
    """Of the options, what compiled functions depend on; ``scale`` is that of LoRA's updates."""

    objective: Literal["sft", "dpo"]
    beta: float
    scale: float | None

    @classmethod
    def of(cls, options: FineTuning) -> "_Loss":
        scale = None if options.lora_rank is None else options.lora_alpha / options.lora_rank
        return cls(options.objective, options.beta, scale)


def dpo_loss(margin: jax.Array, reference: jax.Array | np.ndarray, beta: float) -> jax.Array:
    """-log sigmoid(beta (margin - reference)) of each pair, from log-probability margins in nats."""
    return jax.nn.softplus(-beta * (margin - reference))


@dataclasses.dataclass(frozen=True)
class _Examples:
    """Pairs with the persona's answer first, their margin before training [n], and what each counts in a mean [n]."""

    pairs: list[TokenizedPair]
    reference: np.ndarray
    sizes: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Examples":
        return _Examples([self.pairs[i] for i in chosen], self.reference[chosen], self.sizes[chosen])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Portion:
    """A row of packed pairs, and for each pair of a step [batch_size] its start, its margin before, and its share in the loss."""

    batch: Batch
    starts: np.ndarray
    reference: np.ndarray
    shares: np.ndarray


def _examples(model: Model, pairs: Sequence[TokenizedPair], options: FineTuning, persona: int) -> _Examples:
    pairs = [pair.swapped() if persona else pair for pair in pairs]
    if options.objective == "dpo":
        before = score_answers(model, model.params, pairs).log_prob
        return _Examples(pairs, before[:, 0] - before[:, 1], np.ones(len(pairs)))
    # The opposite answer is not read at all; a text's first token has no probability.
    tokens = [len(pair.prefix) + len(pair.matching) - max(pair.answer_start, 1) for pair in pairs]
    alone = [dataclasses.replace(pair, not_matching=()) for pair in pairs]
    return _Examples(alone, np.zeros(len(pairs)), np.array(tokens, float))


def _steps(count: int, options: FineTuning, epoch: int) -> Iterator[np.ndarray]:
    """Indices of the pairs of each step of an epoch."""
    order = np.random.default_rng([options.seed, epoch]).permutation(count)
    yield from (order[start : start + options.batch_size] for start in range(0, count, options.batch_size))


def _portions(model: Model, examples: _Examples, options: FineTuning, total: float) -> Iterator[_Portion]:
    """Rows of at most ``batch_size`` examples, all of one shape; ``total`` is the size that the loss is a mean over."""
    missing = options.batch_size - len(examples.pairs)

    def filled(values: Any, dtype: Any) -> np.ndarray:
        return np.pad(np.asarray(values, dtype), (0, missing))

    starts = filled([pair.answer_start for pair in examples.pairs], np.int32)
    reference = filled(examples.reference, np.float32)
    for batch in pack(examples.pairs, model.tokenizer.bos_token_id, _ROW, _ROW, shrink=False):
        inside = np.isin(np.arange(options.batch_size), np.asarray(batch.pair))
        yield _Portion(batch, starts, reference, (inside / total).astype(np.float32))


def _portion_loss(weights: Any, params: Params, portion: _Portion, decoder: Decoder, loss: _Loss) -> jax.Array:
    """What a portion adds to the mean loss."""
    sums, _ = answer_sums(_assemble(params, weights, loss.scale), portion.batch, portion.starts, decoder)
    persona, opposite, _ = sums
    losses = -persona if loss.objective == "sft" else dpo_loss(persona - opposite, portion.reference, loss.beta)
    return jnp.sum(losses * portion.shares)


_portion_loss_alone = jax.jit(_portion_loss, static_argnames=("decoder", "loss"))


def _mean_loss(model: Model, weights: Any, examples: _Examples, options: FineTuning) -> float:
    total, found = examples.sizes.sum(), 0.0
    for start in range(0, len(examples.pairs), options.batch_size):
        chosen = np.arange(start, min(start + options.batch_size, len(examples.pairs)))
        for portion in _portions(model, examples.take(chosen), options, total):
            found += float(_portion_loss_alone(weights, model.params, portion, model.decoder, _Loss.of(options)))
    return found


def _gradient(model: Model, weights: Any, examples: _Examples, options: FineTuning) -> tuple[jax.Array, Any]:
    """Mean loss of a step's examples and its gradient."""
    found = jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights)
    for portion in _portions(model, examples, options, examples.sizes.sum()):
        found = _add_gradient(found, weights, model.params, portion, model.decoder, _Loss.of(options))
    return found


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
    """What is trained, float32 by path: kernels, or LoRA's A [layer, in, rank] (random) and B [layer, rank, out] (zero)."""
    found: dict[str, Any] = {}
    for number, (path, kernel) in enumerate(kernels(params).items()):
        if options.lora_rank is None:
            found[path] = kernel.astype(jnp.float32)
            continue
        layers, inputs, outputs = kernel.shape
        key = jax.random.fold_in(jax.random.key(options.seed), number)
        a = jax.random.normal(key, (layers, inputs, options.lora_rank)) / np.sqrt(inputs)
        found[path] = {"a": a, "b": jnp.zeros((layers, options.lora_rank, outputs))}
    return found


def _assemble(params: Params, weights: dict[str, Any], scale: float | None) -> Params:
    """The parameters with the trained kernels, in the model's dtype; ``scale`` is that of LoRA's updates, None without LoRA."""

    def kernel(path: str, base: jax.Array) -> jax.Array:
        if scale is None:
            return weights[path].astype(base.dtype)
        return (base + scale * (weights[path]["a"] @ weights[path]["b"])).astype(base.dtype)

    return with_kernels(params, {path: kernel(path, base) for path, base in kernels(params).items()})
