"""Collects Taylor statistics of a streamed model: forward through the layers, then backward, one layer at a time.

The forward pass stores the input of each layer. The backward pass recomputes each layer from its input and differentiates it.
This gives the gradient with respect to the layer's kernels, its Fisher factors, and the gradient with respect to its input,
which is the previous layer's output. These arrays are as large as the model, so they are memory-mapped (``core/memmap.py``).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration import fisher, generated_text_streamed
from jaxpersona.calibration.backward import (
    FACTORS,
    GRADIENT,
    Part,
    Sums,
    counted,
    head_gradient,
    layer_sums,
    most_shared,
)
from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.fisher import Factors, Gradient
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.calibration.taylor_statistics import (
    TaylorStatistics,
    answer_tokens,
    neutral_batches,
    pair_batches,
    shared_batches,
)
from jaxpersona.core.finite import check_finite
from jaxpersona.core.memmap import MappedArrays
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params, flatten
from jaxpersona.data.packing import Batch
from jaxpersona.models.layer_loop import State, run_layers
from jaxpersona.models.sites import SITE_OF, kernels, module_of
from jaxpersona.models.streamed_forward import States, embed, flag_of, layer_step
from jaxpersona.models.streamed_model import StreamedModel


@dataclasses.dataclass(frozen=True)
class _Texts:
    """Batches and their hidden states.

    Attributes:
      batches: of one shape.
      shares: by batch, float32 [B, T]: the objective is the sum of the tokens' log-probabilities times their shares.
      parts: what is summed over them.
      states: [layer + 1, batch, B, T, hidden], the input of each layer, and the output of the last one.
    """

    batches: Sequence[Batch]
    shares: Sequence[np.ndarray]
    parts: tuple[Part, ...]
    states: np.ndarray

    @property
    def tokens(self) -> float:
        """Number of tokens that the factors are means over."""
        return float(sum(counted(batch).sum() for batch in self.batches))


def collect(
    model: StreamedModel,
    calibration: Calibration,
    arrays: MappedArrays,
    weights: tuple[float, float] = (0.0, 0.0),
    stage: Stage = QUIET,
) -> TaylorStatistics:
    """Returns what ``taylor_statistics.collect`` does, as memory-mapped arrays, with ``collect_shared`` unless weights are 0."""
    pairs, statistics = calibration.tokenized, _empty(model, arrays, any(weights))
    answers = answer_tokens(model, pairs)
    tokens = generated_text_streamed.generate(model, calibration.generated, calibration.seed, stage.part("generate text"))
    texts = {
        "pairs": _start(model, arrays, "states of pairs", *pair_batches(model, pairs), GRADIENT + FACTORS),
        "own": _start(model, arrays, "states of generated text", *neutral_batches(model, tokens), FACTORS),
    }
    if any(weights):
        texts["shared"] = _start(model, arrays, "states of shared texts", *shared_batches(model, pairs, *weights), GRADIENT)
    _forward(model, texts, stage.part("forward"))
    kept = _gradients(statistics)

    def step(number: int, params: Params, gradients: State) -> None:
        total: Sums | None = None
        for name, part in texts.items():
            sums = _layer_back(model, part, number, params, gradients[name])
            check_finite(sums, "gradients and second moments", first_layer=number)
            for path, leaf in sums.pop("gradient", {}).items():
                kept[name][path][number] = np.asarray(leaf[0] / (answers if name == "pairs" else 1), kept[name][path].dtype)
            if sums:
                mean = fisher.divided(sums, 2 * part.tokens)
                total = mean if total is None else _added(total, mean)
        assert total is not None
        of_layer = flatten({**total})
        for path, leaf in flatten(vars(statistics.factors)).items():
            leaf[number] = np.asarray(of_layer[path])[0]

    def start() -> State:
        return {name: _head_gradients(model, part) for name, part in texts.items()}

    run_layers(model, start, step, _arrays(statistics), stage.part("backward"), backwards=True)
    return statistics


def _start(
    model: StreamedModel,
    arrays: MappedArrays,
    name: str,
    batches: Sequence[Batch],
    shares: Sequence[np.ndarray],
    parts: tuple[Part, ...],
) -> _Texts:
    embedded = embed(model, model.decoder, (batch.tokens for batch in batches))
    states = arrays.array(name, (model.config.num_layers + 1, len(batches), *embedded[0].shape), embedded[0].dtype)
    for index, x in embedded.items():
        states[0, index] = x
    return _Texts(batches, shares, parts, states)


def _forward(model: StreamedModel, texts: Mapping[str, _Texts], stage: Stage) -> None:
    """Runs the texts forward and fills the states."""
    decoder = model.batch_decoder()

    def step(number: int, params: Params, state: State) -> None:
        for part in texts.values():
            for index, batch in enumerate(part.batches):
                x, _ = layer_step(decoder, params, part.states[number, index], flag_of(decoder, number), batch)
                part.states[number + 1, index] = np.asarray(x)

    run_layers(model, dict, step, {name: part.states[1:] for name, part in texts.items()}, stage)


def _head_gradients(model: StreamedModel, texts: _Texts) -> States:
    """Returns, by batch, the gradient with respect to the last layer's output [B, T, hidden]."""
    differentiate = functools.partial(_head_gradient, model.batch_decoder(), most_shared(texts.shares), model.head())
    outputs = enumerate(zip(texts.states[-1], texts.batches, texts.shares, strict=True))
    return {index: np.asarray(differentiate(*output)) for index, output in outputs}


def _layer_back(model: StreamedModel, texts: _Texts, number: int, params: Params, gradients: States) -> Sums:
    """Returns the sums of one layer over the batches.

    Args:
      gradients: by batch, with respect to the layer's output; replaced in place by those with respect to its input.
    """
    decoder, total = model.batch_decoder(outer_sums if "inputs" in texts.parts else None), None
    for index, batch in enumerate(texts.batches):
        inputs = texts.states[number, index], flag_of(decoder, number), batch, gradients[index]
        gradient, sums = _layer_sums(decoder, texts.parts, params, *inputs)
        gradients[index] = np.asarray(gradient)
        total = sums if total is None else _added(total, sums)
    assert total is not None
    return total


@functools.partial(jax.jit, donate_argnums=0)
def _added(total: Any, new: Any) -> Any:
    """Returns the sum of two pytrees of arrays, in the memory of ``total``, which cannot be used any more."""
    return jax.tree.map(jnp.add, total, new)


_head_gradient = jax.jit(head_gradient, static_argnums=(0, 1))
_layer_sums = jax.jit(layer_sums, static_argnums=(0, 1))


def _gradients(statistics: TaylorStatistics) -> dict[str, Gradient]:
    """Returns the gradients by the texts they come from."""
    optional = {} if statistics.shared is None else {"shared": statistics.shared}
    return {"pairs": statistics.margin, **optional}


def _empty(model: StreamedModel, arrays: MappedArrays, shared: bool) -> TaylorStatistics:
    """Allocates the statistics of all layers."""
    flat, layers = kernels(model.params), model.config.num_layers
    sizes = {SITE_OF[module_of(path)]: kernel.shape[1] for path, kernel in flat.items()}
    inputs: dict[str, Any] = {site: arrays.array(f"inputs {site}", (layers, size, size)) for site, size in sizes.items()}
    outputs: dict[str, Any] = {path: arrays.array(f"outputs {path}", (layers, flat[path].shape[2])) for path in flat}

    def gradient(name: str) -> dict[str, Any]:
        return {path: arrays.array(f"{name} {path}", kernel.shape, jnp.bfloat16) for path, kernel in flat.items()}

    return TaylorStatistics(gradient("margin"), Factors(inputs, outputs), gradient("shared") if shared else None)


def _arrays(statistics: TaylorStatistics) -> dict[str, np.ndarray]:
    """Returns the arrays by name."""
    return flatten({**_gradients(statistics), **vars(statistics.factors)})
