"""Evidence for contrastive Taylor pruning from a streamed model: forward through the layers, then backward, one at a time.

The forward pass keeps what each layer reads. Backwards, a layer is computed anew from that and differentiated: what comes out is
the gradient by its kernels, the factors of its Fisher information, and the slope by what it read, which is that of the layer
before by what it gave. All of this is as large as the model, and lies in files (``scratch.py``).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona import first_order, fisher
from jaxpersona.calibration import Calibration
from jaxpersona.data.packing import Batch
from jaxpersona.first_order import Evidence
from jaxpersona.fisher import Factors, Gradient
from jaxpersona.hessians import outer_sums
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels
from jaxpersona.models.streamed import StreamedModel
from jaxpersona.models.weights import Params
from jaxpersona.progress import Progress, Report
from jaxpersona.scoring import next_log_probs
from jaxpersona.streaming import own_text
from jaxpersona.streaming.forward import embed, flag_of, layer_step
from jaxpersona.streaming.scratch import Scratch


@dataclasses.dataclass
class _Texts:
    """Batches on their way through the model and back.

    Attributes:
      batches: of one shape.
      shares: by batch, float32 [B, T]: differentiated is the sum of the tokens' log-probabilities times their shares.
      gradient: whether the gradient by the kernels is asked for.
      states: what each layer reads, [layer, batch, B, T, hidden].
      slopes: by batch, the gradient by what the layer last visited read [B, T, hidden]; before, what it gave.
    """

    batches: Sequence[Batch]
    shares: Sequence[np.ndarray]
    gradient: bool
    states: np.ndarray
    slopes: list[Any]

    @property
    def tokens(self) -> float:
        """How many tokens the factors are means over."""
        return float(sum(_counted(batch).sum() for batch in self.batches))


def collect_evidence(model: StreamedModel, calibration: Calibration, scratch: Scratch, report: Report) -> Evidence:
    """As ``first_order.collect_evidence``; the arrays are memory-mapped."""
    pairs = calibration.tokenized
    tokens = own_text.write(model, seed=calibration.seed, progress=functools.partial(report, "write own text"))
    start = functools.partial(_start, model, scratch)
    both = start(*first_order.pair_batches(model, pairs), True), start(*first_order.neutral_batches(model, tokens), False)
    _forward(model, both, functools.partial(report, "calibrate, forward"))
    found = _empty(model, scratch)
    progress = functools.partial(report, "calibrate, backward")
    for number, params in model.layers(backwards=True):
        sums = [_layer_back(model, texts, number, params) for texts in both]
        for path, slope in sums[0][0].items():
            found.margin[path][number] = np.asarray(slope[0]) / first_order.answer_tokens(pairs)
        means = [jax.tree.map(lambda leaf, n=texts.tokens: leaf / n, part[1]) for texts, part in zip(both, sums, strict=True)]
        _put(found.factors, number, jax.tree.map(lambda a, b: (a + b) / 2, *means))
        progress(model.config.num_layers - number, model.config.num_layers)
    return found


def _start(
    model: StreamedModel, scratch: Scratch, batches: Sequence[Batch], shares: Sequence[np.ndarray], gradient: bool
) -> _Texts:
    slopes = embed(model, model.decoder, (batch.tokens for batch in batches))
    states = scratch.array((model.config.num_layers, len(batches), *slopes[0].shape), slopes[0].dtype)
    return _Texts(batches, shares, gradient, states, slopes)


def _forward(model: StreamedModel, parts: Sequence[_Texts], progress: Progress) -> None:
    """Fills the states, and makes the slopes those by what the last layer gives."""
    decoder = model.decoder
    for number, params in model.layers():
        for texts in parts:
            for place, batch in enumerate(texts.batches):
                texts.states[number, place] = texts.slopes[place]  # on the way there, what the next layer reads
                x, _ = layer_step(decoder, params, texts.slopes[place], flag_of(decoder, number), batch)
                texts.slopes[place] = np.asarray(x)
        progress(number + 1, model.config.num_layers)
    head = model.head()
    for texts in parts:
        ends = zip(texts.slopes, texts.batches, texts.shares, strict=True)
        texts.slopes = [np.asarray(_head_slope(decoder, head, *end)) for end in ends]


def _layer_back(model: StreamedModel, texts: _Texts, number: int, params: Params) -> tuple[Gradient, Factors]:
    """Gradient (where asked for) and factors of one layer, summed over the batches; moves the slopes to before the layer."""
    decoder, total = Decoder(model.config, outer_sums), None
    for place, batch in enumerate(texts.batches):
        here = texts.states[number, place], flag_of(decoder, number), batch, texts.slopes[place]
        slope, *new = _slopes(decoder, texts.gradient, params, *here)
        texts.slopes[place] = np.asarray(slope)
        total = new if total is None else jax.tree.map(jnp.add, total, new)
    assert total is not None
    return total[0], total[1]


@functools.partial(jax.jit, static_argnums=0)
def _head_slope(decoder: Decoder, params: Params, x: Any, batch: Batch, shares: Any) -> jax.Array:
    """Gradient by the residual stream after the last layer."""

    def objective(x: jax.Array) -> jax.Array:
        hidden = jnp.asarray(decoder.apply({"params": params}, x, method="normed"))
        return jnp.sum(next_log_probs(decoder, params, hidden, batch) * shares)

    return jax.grad(objective)(x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _slopes(
    decoder: Decoder, gradient: bool, params: Params, x: Any, is_sliding: Any, batch: Batch, slope: Any
) -> tuple[jax.Array, Gradient, Factors]:
    """From the gradient by what a layer gives, that by what it reads, by its kernels (or none), and sums for its factors."""
    flat = kernels(params)

    def layer(x: jax.Array, shifts: Gradient, flat: Gradient) -> tuple[jax.Array, Any]:
        variables = {"params": with_kernels(params, flat), "perturbations": fisher.at_outputs(shifts)}
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": _counted(batch)[None]}
        out, state = decoder.apply(variables, x, is_sliding, **inputs, mutable=["stats"], method="through")
        return jnp.asarray(out), by_site(state)

    _, back, inputs = jax.vjp(layer, x, fisher.no_shifts(flat, batch), flat, has_aux=True)
    by_x, by_shifts, by_kernels = back(slope)
    return by_x, fisher.in_float32(by_kernels) if gradient else {}, fisher.factor_sums(inputs, by_shifts)


def _counted(batch: Batch) -> Any:
    return batch.weights.max(axis=0)


def _empty(model: StreamedModel, scratch: Scratch) -> Evidence:
    """Evidence still to be filled in, of all layers."""
    flat, layers = kernels(model.params), model.config.num_layers
    sizes = {SITE_OF[module_of(path)]: kernel.shape[1] for path, kernel in flat.items()}
    inputs = {site: scratch.array((layers, size, size)) for site, size in sizes.items()}
    outputs: dict[str, Any] = {path: np.zeros((layers, kernel.shape[2]), np.float32) for path, kernel in flat.items()}
    return Evidence({path: scratch.array(kernel.shape) for path, kernel in flat.items()}, Factors(inputs, outputs))


def _put(factors: Factors, number: int, layer: Factors) -> None:
    for kept, new in zip(jax.tree.leaves(factors), jax.tree.leaves(layer), strict=True):
        kept[number] = np.asarray(new)[0]
