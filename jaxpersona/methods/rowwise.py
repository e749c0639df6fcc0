"""From scores to masks: keeps the highest-scoring weights of every output, one layer's scores in memory at a time."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.calibration.moments import Statistics, expected
from jaxpersona.core.checkpoints import NOTHING, Checkpoint
from jaxpersona.core.mesh import by_output
from jaxpersona.core.progress import Progress, silent
from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.masks.masks import Masks, Params, counted
from jaxpersona.methods.methods import Method, Moments
from jaxpersona.models.selector import budgets
from jaxpersona.models.sites import HEAD, HEAD_SITE, MODULES, SITE_OF, kernels, kernels_and_head, module_of
from jaxpersona.ops import bitpack
from jaxpersona.ops.topk import budget
from jaxpersona.scores import importance


def prune(
    params: Params,
    method: Method,
    statistics: Statistics | None,
    seed: int = 42,
    protocol: Protocol = STRICT,
    progress: Progress = silent,
    checkpoint: Checkpoint = NOTHING,
) -> tuple[Masks, Masks]:
    """The masks of both personas: per output exactly K weights, ties as the protocol says.

    Args:
      params: the model's parameters.
      method: what to keep, and how much.
      statistics: for methods that need them.
      seed: of methods that draw; personas draw independently.
      progress: called with (kernels done, kernels in all).
      checkpoint: keeps the kernels done.

    Raises:
      InputError: when the method's selectors match nothing in this model.
    """
    flat = masked(params, method, protocol)
    keep = kept_of(flat, method, protocol)
    scoring = without_budget(method)
    words: dict[str, jax.Array] = checkpoint.load() or {}
    for number, (path, kernel) in enumerate(flat.items(), start=1):
        if path not in words:
            inputs = inputs_of(path, kernel.shape[0], method, statistics, seed)
            both = prune_kernel(scoring, protocol, by_output(kernel), keep[path], *inputs)
            words[path] = jax.block_until_ready(by_output(both))
            checkpoint.offer(words)
        progress(number, len(flat))
    first, second = _apart(words)
    return Masks.of(params, first), Masks.of(params, second)


@jax.jit
def _apart(words: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], ...]:
    """Words [layer, persona, words, out] by path as those of each persona."""
    return tuple({path: both[:, persona] for path, both in words.items()} for persona in (0, 1))


def compile_ahead(params: Params, method: Method, seed: int, protocol: Protocol) -> None:
    """Compiles what ``prune`` and a count of its masks will call, before there are statistics.

    For models on one device, and moments of tokens.
    """
    flat, scoring = masked(params, method, protocol), without_budget(method)
    keep, both = kept_of(flat, method, protocol), {}
    for path, kernel in flat.items():
        inputs = inputs_of(path, kernel.shape[0], method, expected(flat), seed)
        program = prune_kernel.lower(scoring, protocol, kernel, keep[path], *inputs)
        program.compile()
        both[path] = program.out_info
    apart = _apart.lower(both)
    apart.compile()
    for words in apart.out_info[0].values():
        counted.lower(words).compile()


def without_budget(method: Method) -> Method:
    """The method as ``prune_kernel`` wants it: one compilation whatever the budget."""
    return dataclasses.replace(method, sparsity=0.0, select="all", overrides=())


def masked(params: Params, method: Method, protocol: Protocol) -> dict[str, jax.Array]:
    """The kernels that are masked, [layer, in, out] by path."""
    head = protocol.prune_head and method.prunes_head and method.select == "all"
    return kernels_and_head(params) if head else kernels(params)


def kept_of(flat: Mapping[str, jax.Array], method: Method, protocol: Protocol) -> dict[str, np.ndarray]:
    """How many weights of every output are kept, int32 [layer] by kernel path, or [layer, blocks] where blocks have budgets."""
    block = method.block(protocol)
    shapes = {path: kernel.shape for path, kernel in flat.items()}
    if block is None:
        return _kept(shapes, method, protocol)
    whole = _kept({path: (layers, block, out) for path, (layers, _, out) in shapes.items()}, method, protocol)
    rest = {path: (layers, rows % block, out) for path, (layers, rows, out) in shapes.items() if rows % block}
    last = _kept(rest, method, protocol) if rest else {}
    found = {}
    for path, (_, rows, _) in shapes.items():
        found[path] = np.stack([whole[path]] * (rows // block) + ([last[path]] if path in last else []), axis=1)
    return found


def _kept(shapes: Mapping[str, tuple[int, ...]], method: Method, protocol: Protocol) -> dict[str, np.ndarray]:
    inner = {path: shape for path, shape in shapes.items() if path != HEAD}
    keep = budgets(inner, method.sparsity, method.select, dict(method.overrides), protocol.exact_budget)
    if HEAD in shapes:
        keep[HEAD] = np.array([budget(shapes[HEAD][1], method.sparsity, protocol.exact_budget)])
    return {path: value.astype(np.int32) for path, value in keep.items()}


def score(
    params: Params, method: Method, statistics: Statistics | None, persona: int, seed: int = 42, protocol: Protocol = STRICT
) -> dict[str, jax.Array]:
    """The method's scores for one persona, float32 [layer, in, out] by kernel path."""
    found = {}
    for path, kernel in masked(params, method, protocol).items():
        moments, keys = inputs_of(path, kernel.shape[0], method, statistics, seed)

        def layer(kernel: jax.Array, moments: Moments | None, keys: jax.Array) -> jax.Array:
            return method.score(kernel, _own_first(moments, persona), keys[persona], protocol)

        found[path] = jax.vmap(layer)(kernel, moments, keys)
    return found


def inputs_of(
    path: str, layers: int, method: Method, statistics: Statistics | None, seed: int
) -> tuple[Moments | None, jax.Array]:
    """The statistics [layer, persona, in] that belong to a kernel, and its own random keys [layer, persona]."""
    moments = None
    if "statistics" in method.needs:
        if statistics is None:
            raise ValueError(f"method {method.name} needs statistics")
        moments = statistics.moments[HEAD_SITE if path == HEAD else SITE_OF[module_of(path)]]
    number = len(MODULES) if path == HEAD else MODULES.index(module_of(path))
    return moments, _keys(jax.random.key(seed), number, layers)


@jax.jit(static_argnames="layers")
def _keys(key: jax.Array, number: int, layers: int) -> jax.Array:
    """The random keys [layer, persona] of a kernel, given its ``number``."""
    keys = [jax.random.fold_in(jax.random.fold_in(key, persona), number) for persona in (0, 1)]
    return jnp.stack([jax.random.split(key, layers) for key in keys], axis=1)


def _own_first(moments: Moments | None, persona: int) -> Moments | None:
    """The statistics [persona, in] with the persona scored for in front."""
    return moments and {name: value[::-1] if persona else value for name, value in moments.items()}


@jax.jit(static_argnames=("method", "protocol"))
def prune_kernel(
    method: Method, protocol: Protocol, kernel: jax.Array, keep: jax.Array, moments: Moments | None, keys: jax.Array
) -> jax.Array:
    """Packed mask words [layer, persona, words, out] of one stacked kernel [layer, in, out]."""

    def layer(args: tuple[jax.Array, jax.Array, Moments | None, jax.Array]) -> jax.Array:
        kernel, keep, moments, keys = args
        first, second = (method.score(kernel, _own_first(moments, persona), keys[persona], protocol) for persona in (0, 1))
        ties = None
        if moments is not None and protocol.wanda_breaks_ties:
            ties = importance.wanda(kernel, moments["mean_abs"][0]), importance.wanda(kernel, moments["mean_abs"][1])
        return jnp.stack([bitpack.pack(mask) for mask in method.choose((first, second), ties, keep, protocol)])

    return jax.lax.map(layer, (kernel, keep, moments, keys))
