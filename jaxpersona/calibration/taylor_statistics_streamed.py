"""Evidence for contrastive Taylor pruning from a streamed model: forward through the layers, then backward, one at a time.

The forward pass keeps what each layer reads. Backwards, a layer is computed anew from that and differentiated: what comes out is
the gradient by its kernels, the factors of its Fisher information, and the slope by what it read, which is that of the layer
before by what it gave. All of this is as large as the model, and lies in files (``scratch.py``).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration import fisher, generated_text_streamed
from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.fisher import Factors, Gradient
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.core.checkpoints import NOWHERE, Checkpoint, Checkpoints
from jaxpersona.core.memmap import Scratch
from jaxpersona.core.progress import Progress, Report
from jaxpersona.core.tree import flatten
from jaxpersona.data.packing import Batch
from jaxpersona.methods import taylor
from jaxpersona.methods.taylor import Evidence
from jaxpersona.models.decoder import Decoder, by_site
from jaxpersona.models.layer_loop import State, walk
from jaxpersona.models.sites import SITE_OF, kernels, module_of, with_kernels
from jaxpersona.models.streamed_forward import States, embed, flag_of, layer_step
from jaxpersona.models.streamed_model import StreamedModel
from jaxpersona.models.weights import Params


@dataclasses.dataclass(frozen=True)
class _Texts:
    """Batches on their way through the model and back.

    Attributes:
      batches: of one shape.
      shares: by batch, float32 [B, T]: differentiated is the sum of the tokens' log-probabilities times their shares.
      gradient: whether the gradient by the kernels is asked for.
      states: what each layer reads, and at last what the last one gives, [layer + 1, batch, B, T, hidden].
    """

    batches: Sequence[Batch]
    shares: Sequence[np.ndarray]
    gradient: bool
    states: np.ndarray

    @property
    def tokens(self) -> float:
        """How many tokens the factors are means over."""
        return float(sum(_counted(batch).sum() for batch in self.batches))


def collect_evidence(
    model: StreamedModel, calibration: Calibration, scratch: Scratch, report: Report, checkpoints: Checkpoints = NOWHERE
) -> Evidence:
    """As ``first_order.collect_evidence``; the arrays are memory-mapped."""
    pairs, found = calibration.tokenized, _empty(model, scratch)
    progress = functools.partial(report, "write own text")
    tokens = generated_text_streamed.write(model, seed=calibration.seed, progress=progress, checkpoint=checkpoints["own text"])
    texts = {
        "pairs": _start(model, scratch, "states of pairs", *taylor.pair_batches(model, pairs), True),
        "own": _start(model, scratch, "states of own text", *taylor.neutral_batches(model, tokens), False),
    }
    _forward(model, texts, functools.partial(report, "calibrate, forward"), checkpoints["evidence forward"])

    def step(number: int, params: Params, slopes: State) -> None:
        sums = {name: _layer_back(model, part, number, params, slopes[name]) for name, part in texts.items()}
        for path, slope in sums["pairs"][0].items():
            found.margin[path][number] = np.asarray(slope[0]) / taylor.answer_tokens(pairs)
        means = [jax.tree.map(lambda leaf, n=part.tokens: leaf / n, sums[name][1]) for name, part in texts.items()]
        _put(found.factors, number, jax.tree.map(lambda a, b: (a + b) / 2, *means))

    def start() -> State:
        return {name: _head_slopes(model, part) for name, part in texts.items()}

    progress = functools.partial(report, "calibrate, backward")
    walk(model, start, step, _parts(found), checkpoints["evidence backward"], progress, backwards=True)
    return found


def _start(
    model: StreamedModel, scratch: Scratch, name: str, batches: Sequence[Batch], shares: Sequence[np.ndarray], gradient: bool
) -> _Texts:
    begin = embed(model, model.decoder, (batch.tokens for batch in batches))
    states = scratch.array(name, (model.config.num_layers + 1, len(batches), *begin[0].shape), begin[0].dtype)
    for place, x in begin.items():
        states[0, place] = x
    return _Texts(batches, shares, gradient, states)


def _forward(model: StreamedModel, texts: Mapping[str, _Texts], progress: Progress, checkpoint: Checkpoint) -> None:
    """Fills the states."""
    decoder = model.batch_decoder()

    def step(number: int, params: Params, state: State) -> None:
        for part in texts.values():
            for place, batch in enumerate(part.batches):
                x, _ = layer_step(decoder, params, part.states[number, place], flag_of(decoder, number), batch)
                part.states[number + 1, place] = np.asarray(x)

    walk(model, dict, step, {name: part.states[1:] for name, part in texts.items()}, checkpoint, progress)


def _head_slopes(model: StreamedModel, texts: _Texts) -> States:
    """By batch, the gradient by what the last layer gives [B, T, hidden]."""
    slope = functools.partial(_head_slope, model.batch_decoder(), fisher.most_shared(texts.shares), model.head())
    ends = enumerate(zip(texts.states[-1], texts.batches, texts.shares, strict=True))
    return {place: np.asarray(slope(*end)) for place, end in ends}


def _layer_back(model: StreamedModel, texts: _Texts, number: int, params: Params, slopes: States) -> tuple[Gradient, Factors]:
    """Gradient (where asked for) and factors of one layer, summed over the batches.

    Args:
      slopes: by batch, the gradient by what the layer gives; becomes that by what it reads.
    """
    decoder, total = model.batch_decoder(outer_sums), None
    for place, batch in enumerate(texts.batches):
        here = texts.states[number, place], flag_of(decoder, number), batch, slopes[place]
        slope, *new = _slopes(decoder, texts.gradient, params, *here)
        slopes[place] = np.asarray(slope)
        total = new if total is None else jax.tree.map(jnp.add, total, new)
    assert total is not None
    return total[0], total[1]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _head_slope(decoder: Decoder, most: int, params: Params, x: Any, batch: Batch, shares: Any) -> jax.Array:
    """Gradient by the residual stream after the last layer."""

    def objective(x: jax.Array) -> jax.Array:
        hidden = jnp.asarray(decoder.apply({"params": params}, x, method="normed"))
        return fisher.shared_log_probs(decoder, params, hidden, batch, shares, most)

    return jax.grad(objective)(x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _slopes(
    decoder: Decoder, gradient: bool, params: Params, x: Any, is_sliding: Any, batch: Batch, slope: Any
) -> tuple[jax.Array, Gradient, Factors]:
    """From the gradient by what a layer gives, that by what it reads, by its kernels (or none), and sums for its factors."""
    flat = kernels(params)

    def layer(x: jax.Array, probes: Gradient, flat: Gradient) -> tuple[jax.Array, Any]:
        variables = {"params": with_kernels(params, flat), "probes": fisher.at_outputs(probes)}
        inputs = {"positions": batch.positions, "visible": batch.visible(), "weights": _counted(batch)[None]}
        out, state = decoder.apply(variables, x, is_sliding, **inputs, mutable=["stats"], method="through")
        return jnp.asarray(out), by_site(state)

    _, back, inputs = jax.vjp(layer, x, fisher.probes_of(flat), flat, has_aux=True)
    by_x, by_probes, by_kernels = back(slope)
    return by_x, fisher.in_float32(by_kernels) if gradient else {}, fisher.factor_sums(inputs, by_probes)


def _counted(batch: Batch) -> Any:
    return batch.weights.max(axis=0)


def _empty(model: StreamedModel, scratch: Scratch) -> Evidence:
    """Evidence still to be filled in, of all layers."""
    flat, layers = kernels(model.params), model.config.num_layers
    sizes = {SITE_OF[module_of(path)]: kernel.shape[1] for path, kernel in flat.items()}
    inputs: dict[str, Any] = {site: scratch.array(f"inputs {site}", (layers, size, size)) for site, size in sizes.items()}
    outputs: dict[str, Any] = {path: scratch.array(f"outputs {path}", (layers, flat[path].shape[2])) for path in flat}
    margin: dict[str, Any] = {path: scratch.array(f"margin {path}", kernel.shape) for path, kernel in flat.items()}
    return Evidence(margin, Factors(inputs, outputs))


def _parts(found: Evidence) -> dict[str, np.ndarray]:
    """The arrays by name."""
    return flatten({"margin": found.margin, **vars(found.factors)})


def _put(factors: Factors, number: int, layer: Factors) -> None:
    for kept, new in zip(jax.tree.leaves(factors), jax.tree.leaves(layer), strict=True):
        kept[number] = np.asarray(new)[0]
