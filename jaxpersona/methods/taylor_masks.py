"""Computes the masks and scores of contrastive Taylor pruning at a given price of damage, for all layers or some."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpersona.calibration.taylor_statistics import TaylorStatistics
from jaxpersona.core.background import on_all_cores
from jaxpersona.core.mesh import by_output, gathered, mesh_of
from jaxpersona.core.tree import Params
from jaxpersona.masks import coordinate_ascent
from jaxpersona.masks.masks import Masks
from jaxpersona.models.selector import Selector
from jaxpersona.models.sites import SITE_OF, kernels, module_of
from jaxpersona.ops import bitpack

_SHRINKAGE = 0.1  # of the inputs' second moments towards their diagonal, because they come from few tokens


def masks_at(
    params: Params, statistics: TaylorStatistics, persona: int, select: str, price: float, own_weight: float = 0.0
) -> Masks:
    """Returns masks that remove the weights whose removal gains more than the price of its damage.

    Args:
      persona: 0 for the persona of the matching answers, 1 for its opposite.
      select: selector of the modules and layers that may be masked.
      price: of damage, in margin per nat of loss.
      own_weight: of the persona's own answers in the gain, beyond that of the opposite ones; ``statistics.shared`` has the same.

    Raises:
      InputError: if the selector is invalid.
    """
    return Masks.of(params, words_at(params, statistics, eligible_layers(params, select), persona, price, own_weight))


def eligible_layers(params: Params, select: str) -> dict[str, np.ndarray]:
    """Returns which layers of each kernel may be masked, bool [layer] by path."""
    return {path: Selector(select).matches(module_of(path), kernel.shape[0]) for path, kernel in kernels(params).items()}


def words_at(
    params: Params,
    statistics: TaylorStatistics,
    eligible: Mapping[str, np.ndarray],
    persona: int,
    price: float,
    own_weight: float = 0.0,
) -> dict[str, jax.Array]:
    """Returns the packed words of ``masks_at`` by kernel path."""
    options, problems = (margin_weight(persona, own_weight), min(price, 1e30)), {}
    for path, kernel in kernels(params).items():
        inputs, outputs = statistics.factors.inputs[SITE_OF[module_of(path)]], statistics.factors.outputs[path]
        gradients = [by_output(gradient) for gradient in _gradients(statistics, path)]
        problems[path] = by_output(kernel), gradients, inputs, outputs, eligible[path]
    if jax.default_backend() == "cpu" and mesh_of(params) is None:
        return _kept_on_all_cores(problems, options)
    mesh = mesh_of(params)
    return {path: by_output(_kept(mesh, problem, *options)) for path, problem in problems.items()}


def margin_weight(persona: int, own_weight: float) -> float:
    """Returns the weight of the margin's gradient in what a persona gains.

    With b for ``own_weight``, it gains (1 + b) own - opposite, divided by 1 + b / 2, so that a price means the same for all b.
    The margin is matching - other; the persona's own answers are the matching ones for persona 0. What remains is
    b / (1 + b / 2) times the matching answers for both, a part of ``TaylorStatistics.shared``.

    >>> margin_weight(1, 0.0), margin_weight(0, 2.0), margin_weight(1, 2.0)
    (-1.0, 0.5, -1.5)
    """
    return (1.0 if persona == 0 else -1 - own_weight) / (1 + own_weight / 2)


def _gradients(statistics: TaylorStatistics, path: str) -> list[Any]:
    """Returns a kernel's gradient of the margin, and that of what both personas gain alike, if there is one."""
    shared = [] if statistics.shared is None else [statistics.shared[path]]
    return [statistics.margin[path], *shared]


def _wanted(gradients: Sequence[Any], margin_weight: Any) -> Any:
    """Returns the gradient of what a persona gains, float32."""
    margin, *shared = (gradient.astype(jnp.float32) for gradient in gradients)
    return sum(shared, margin_weight * margin)


def _kept_on_all_cores(problems: Mapping[str, tuple[Any, ...]], options: tuple[Any, ...]) -> dict[str, jax.Array]:
    """Returns what ``_kept`` does by kernel path, layer by layer, because the loop over inputs uses one core."""
    problems = jax.tree.map(jnp.asarray, dict(problems))
    places = [(path, number) for path, problem in problems.items() for number in range(len(problem[0]))]
    found = on_all_cores(lambda place: _kept_in_layer(problems[place[0]], place[1], *options), places)
    layers: dict[str, list[jax.Array]] = {path: [] for path in problems}
    for (path, _), packed in zip(places, found, strict=True):
        layers[path].append(packed)
    return {path: jnp.stack(packed) for path, packed in layers.items()}


@functools.partial(jax.jit, static_argnums=0)
def _kept(mesh: Mesh | None, problem: tuple[Any, ...], *options: Any) -> jax.Array:
    """Returns the packed mask of one stacked kernel; on a mesh, each layer's input moments are gathered before its loop."""

    def choose(layer: tuple[Any, ...]) -> jax.Array:
        kernel, gradients, inputs, *others = layer
        return _choose(options, (kernel, gradients, gathered(inputs, mesh), *others))

    return jax.lax.map(choose, problem)


@jax.jit
def _kept_in_layer(problem: tuple[Any, ...], number: Any, *options: Any) -> jax.Array:
    """Returns the packed mask of one layer of a stacked kernel."""
    return _choose(options, jax.tree.map(lambda leaf: leaf[number], problem))


def _choose(options: tuple[Any, ...], layer: tuple[Any, ...]) -> jax.Array:
    """Returns the packed mask of one layer.

    Args:
      options: the margin's weight, and the price.
      layer: kernel, gradients, input moments, squared output gradients, and whether the layer may be masked.
    """
    (weight_of_margin, price), (kernel, gradients, inputs, outputs, eligible) = options, layer
    weight = kernel.astype(jnp.float32)
    gain = jnp.where(eligible & (weight != 0), -weight * _wanted(gradients, weight_of_margin), -jnp.inf)
    shrunk = (1 - _SHRINKAGE) * inputs + _SHRINKAGE * jnp.diag(jnp.diag(inputs))
    return bitpack.pack(~coordinate_ascent.choose(weight, gain, shrunk, outputs, price))


def scores(params: Params, statistics: TaylorStatistics, persona: int, own_weight: float = 0.0) -> dict[str, jax.Array]:
    """Returns minus gain over damage of removing each weight alone, float32 [layer, in, out] by path; high scores are kept."""
    result, weight_of_margin = {}, margin_weight(persona, own_weight)
    for path, kernel in kernels(params).items():
        inputs = jnp.diagonal(statistics.factors.inputs[SITE_OF[module_of(path)]], axis1=-2, axis2=-1)
        weight = kernel.astype(jnp.float32)
        damage = 0.5 * jnp.square(weight) * inputs[..., None] * statistics.factors.outputs[path][:, None, :]
        wanted = _wanted(_gradients(statistics, path), weight_of_margin)
        result[path] = weight * wanted / jnp.maximum(damage, jnp.finfo(jnp.float32).tiny)
    return result
