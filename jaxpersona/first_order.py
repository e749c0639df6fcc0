"""Masks by first-order (Taylor) saliency: removes the weights whose removal helps a persona most for the harm it does elsewhere.

Setting a weight w to zero changes a function f of the parameters by -w df/dw to first order. With the margin m (mean
log-probability per token of the persona's answers minus that of the opposite ones) and the loss L on neutral text, removing
weight ij

    gains    g_ij = -w_ij dm/dw_ij                                          in margin, to first order
    harms    h_ij = -w_ij dL/dw_ij                                          in loss, to first order
    damages  d_ij = 1/2 w_ij^2 E[x_i^2] E[(dL/dy_j)^2]                      in loss, to second order

where x is the layer's input, y its output, and the curvature is the diagonal of the Kronecker-factored Fisher information on
neutral text (Martens and Grosse, 2015; in pruning: Molchanov et al., 2019; Kurtic et al., 2022). Weights go in the order of
(g - h) / d, over all layers together, until the share or the damage budget is used up. Only the half of each output's weights
with the smaller w_ij^2 E[x_i^2] (Wanda's importance, squared) may go: without that limit perplexity rose by half in one trial
(why was not established; weights that feed massive activations are a suspect). No weight is updated. The opposite persona has
the gains -g.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona import bitpack
from jaxpersona.data.packing import Batch, answer_shares, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.language_modelling import BUILTIN_TEXT, perplexity, read_text, windows
from jaxpersona.masks import Masks, apply_mask
from jaxpersona.methods import FirstOrder
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.model import Model
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels
from jaxpersona.models.weights import Params
from jaxpersona.progress import Progress, Report, silent
from jaxpersona.scoring import token_log_probs
from jaxpersona.selector import Selector
from jaxpersona.statistics import weighted_sums
from jaxpersona.topk import ordered_bits, top_k_mask
from jaxpersona.tree import unflatten

Gradient = dict[str, jax.Array]
"""Float32 [layer, in, out] by kernel path."""
_SHARES, _BISECTIONS = (1e-4, 0.2), 7
_NEUTRAL_TOKENS, _BUDGET_TOKENS = 4096, 2048
_BATCH_TOKENS = 512  # activations of all layers are kept for the backward pass


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What first-order saliency needs to know of a model.

    Attributes:
      margin: gradient of the mean margin of the pairs.
      neutral: gradient of the mean loss per token on neutral text.
      input_square: E[x_i^2] on neutral text, float32 [layer, in] by kernel path.
      output_square: E[(dL/dy_j)^2] on neutral text, float32 [layer, out] by kernel path.
    """

    margin: Gradient
    neutral: Gradient
    input_square: dict[str, jax.Array]
    output_square: dict[str, jax.Array]


def collect_evidence(model: Model, pairs: Sequence[TokenizedPair], report: Report = silent) -> Evidence:
    """Evidence from calibration pairs, and from the half of the built-in neutral text that damage is not measured on."""
    text = read_text(BUILTIN_TEXT)
    tokens = windows(model, text[text.index("\n\n", len(text) // 2) :], _NEUTRAL_TOKENS, length=256)
    neutral = neutral_evidence(model, tokens, functools.partial(report, "calibrate, neutral"))
    return Evidence(margin_gradient(model, pairs, functools.partial(report, "calibrate, pairs")), **neutral)


def prune(
    model: Model, method: FirstOrder, evidence: Evidence, persona: int, neutral: str | None = None, progress: Progress = silent
) -> Masks:
    """The masks of one persona, of the share or within the damage budget that ``method`` says.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      neutral: text on which a damage budget is measured; default ``builtin:neutral``.
    """
    values = removal_values(model.params, evidence, persona, method.select)
    if method.max_perplexity_increase is None:
        assert method.sparsity is not None
        return remove_share(model.params, values, method.sparsity)
    tokens = windows(model, neutral or read_text(BUILTIN_TEXT), _BUDGET_TOKENS)
    return spend_budget(model, values, tokens, method.max_perplexity_increase, progress)


def margin_gradient(model: Model, pairs: Sequence[TokenizedPair], progress: Progress = silent) -> Gradient:
    """Gradient of the mean over pairs of the margin: mean log-probability per token of one answer minus that of the other."""
    batches = pack(pairs, model.tokenizer.bos_token_id, row_length=256, batch_tokens=_BATCH_TOKENS)
    total = None
    for number, batch in enumerate(batches, start=1):
        persona, opposite = answer_shares(batch, pairs) / len(pairs)
        new = _margin_gradient(kernels(model.params), model.params, batch, persona - opposite, model.decoder)
        total = new if total is None else jax.tree.map(jnp.add, total, new)
        jax.block_until_ready(total)
        progress(number, len(batches))
    assert total is not None
    return total


@functools.partial(jax.jit, static_argnames="decoder")
def _margin_gradient(flat: Gradient, params: Params, batch: Batch, shares: jax.Array, decoder: Decoder) -> Gradient:
    def margin(flat: Gradient) -> jax.Array:
        return jnp.sum(token_log_probs(decoder, with_kernels(params, flat), batch) * shares)

    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), jax.grad(margin)(flat))


def neutral_evidence(model: Model, tokens: np.ndarray, progress: Progress = silent) -> dict[str, Any]:
    """The fields ``neutral``, ``input_square`` and ``output_square`` of ``Evidence``, on neutral text.

    Args:
      tokens: int32 [n, length] from ``language_modelling.windows``.
    """
    total = None
    for number, window in enumerate(tokens, start=1):
        new = _neutral_sums(kernels(model.params), model.params, window[None], Decoder(model.config, weighted_sums))
        total = new if total is None else jax.tree.map(jnp.add, total, new)
        jax.block_until_ready(total)
        progress(number, len(tokens))
    assert total is not None
    count = tokens.shape[0] * (tokens.shape[1] - 1)
    gradient, inputs, outputs = jax.tree.map(lambda leaf: leaf / count, total)
    input_square = {path: inputs[SITE_OF[module_of(path)]]["mean_square"][:, 0] for path in gradient}
    return {"neutral": gradient, "input_square": input_square, "output_square": outputs}


@functools.partial(jax.jit, static_argnames="decoder")
def _neutral_sums(flat: Gradient, params: Params, tokens: jax.Array, decoder: Decoder) -> tuple[Any, Any, Any]:
    """Sums over the predicted tokens of a window [1, T]: gradient, squared inputs, squared gradients at the outputs."""
    length = tokens.shape[1] - 1
    shifts = {path: jnp.zeros((kernel.shape[0], 1, length, kernel.shape[2])) for path, kernel in flat.items()}

    def loss(flat: Gradient, shifts: Gradient) -> tuple[jax.Array, Any]:
        outputs = unflatten({path.replace("/kernel", "/output"): shift for path, shift in shifts.items()})
        variables = {"params": with_kernels(params, flat), "perturbations": outputs}
        logits, state = decoder.apply(variables, tokens[:, :-1], weights=jnp.ones((1, 1, length)), mutable=["stats"])
        log_probs = jax.nn.log_softmax(jnp.asarray(logits), axis=-1)
        layers = state["stats"]["layers"]
        nll = -jnp.sum(jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1))
        return nll, {**layers["self_attn"], **layers["mlp"]}

    (gradient, at_outputs), inputs = jax.grad(loss, argnums=(0, 1), has_aux=True)(flat, shifts)
    squares = {path: jnp.sum(jnp.square(shift.astype(jnp.float32)), axis=(1, 2)) for path, shift in at_outputs.items()}
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradient), inputs, squares


def removal_values(params: Params, evidence: Evidence, persona: int, select: str = "all") -> dict[str, jax.Array]:
    """What the removal of each weight is worth, (g - h) / d; minus infinity where it is worth nothing or may not be removed.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      select: selector of the modules and layers that may be masked.
    """
    selector, sign = Selector(select), 1 - 2 * persona
    values: dict[str, jax.Array] = {}
    for path, kernel in kernels(params).items():
        gradients, curvature = (evidence.margin, evidence.neutral), (evidence.input_square, evidence.output_square)
        known = [part[path] for part in (*gradients, *curvature)]
        values[path] = _values(kernel, *known, sign, selector.matches(module_of(path), kernel.shape[0]))
    return values


@jax.jit
def _values(kernel: Any, margin: Any, neutral: Any, inputs: Any, outputs: Any, sign: Any, eligible: Any) -> jax.Array:
    def layer(args: tuple[Any, ...]) -> jax.Array:
        kernel, margin, neutral, inputs, outputs, eligible = args
        weight = kernel.astype(jnp.float32)
        importance = jnp.square(weight) * inputs[:, None]
        damage = 0.5 * importance * outputs[None, :]
        profit = weight * (neutral - sign * margin)  # g - h
        safe = ~top_k_mask(importance, jnp.asarray((kernel.shape[0] + 1) // 2))
        worth = safe & (profit > 0) & (damage > 0) & eligible
        return jnp.where(worth, profit / jnp.where(damage > 0, damage, 1), -jnp.inf)

    return jax.lax.map(layer, (kernel, margin, neutral, inputs, outputs, eligible))


def remove_share(params: Params, values: Mapping[str, jax.Array], share: float) -> Masks:
    """Masks that remove the ``share`` of all maskable weights whose removal is worth most, and none of no worth.

    Weights of one value go together, so ties at the threshold may remove a few more.
    """
    count = int(share * sum(value.size for value in values.values()))
    threshold = np.uint32(0)
    for bit in range(31, -1, -1):  # bisection on the bits of the ordered values
        trial = threshold | np.uint32(1 << bit)
        if sum(int(_count_above(value, trial)) for value in values.values()) >= count:
            threshold = trial
    return Masks.of(params, {path: _pack_kept(value, threshold) for path, value in values.items()})


@jax.jit
def _count_above(values: jax.Array, threshold: jax.Array) -> jax.Array:
    return jnp.sum(ordered_bits(values) >= threshold, dtype=jnp.int32)


@jax.jit
def _pack_kept(values: jax.Array, threshold: jax.Array) -> jax.Array:
    removed = (ordered_bits(values) >= threshold) & (values > -jnp.inf)
    return jax.lax.map(bitpack.pack, ~removed)


def spend_budget(
    model: Model, values: Mapping[str, jax.Array], tokens: np.ndarray, max_increase: float, progress: Progress = silent
) -> Masks:
    """Masks that remove the largest share whose perplexity on ``tokens`` rises by no more than ``max_increase`` (0.02: 2 %).

    The share is found by bisection between 0.01 % and 20 %; where even the smallest costs too much, nothing is removed.
    """
    base = perplexity(model, model.params, tokens)
    best = remove_share(model.params, values, 0.0)
    low, high = np.log(_SHARES)
    for step in range(1, _BISECTIONS + 1):
        middle = (low + high) / 2
        mask = remove_share(model.params, values, float(np.exp(middle)))
        within = perplexity(model, apply_mask(model.params, mask), tokens) <= base * (1 + max_increase)
        best, low, high = (mask, middle, high) if within else (best, low, middle)
        progress(step, _BISECTIONS)
    return best
