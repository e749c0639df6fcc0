"""Compares two masks: shares kept, and overlap next to the overlap of independent random masks."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxpersona.masks.masks import Masks
from jaxpersona.models.sites import ATTENTION, MLP, MODULES, module_of

_GROUPS = {module: (module,) for module in MODULES} | {"attention": ATTENTION, "mlp": MLP, "all": MODULES}


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Two masks compared over a group of modules.

    Attributes:
      modules: a module's name, ``attention``, ``mlp`` or ``all``.
      kept: share of the group's weights kept by the first mask and by the second.
      jaccard: weights kept by both over weights kept by either.
      jaccard_independent: the same for independent random masks with the same shares.
      difference_rate: share of weights that one mask keeps and the other removes (Table 2).
    """

    modules: str
    kept: tuple[float, float]
    jaccard: float
    jaccard_independent: float
    difference_rate: float


def overlaps(a: Masks, b: Masks) -> list[Overlap]:
    """Compares two masks by module, and over attention, MLP and all modules."""
    first, second, both, sizes = a.counts(), b.counts(), (a & b).counts(), a.sizes()
    return [_overlap(name, modules, first, second, both, sizes) for name, modules in _GROUPS.items()]


def _overlap(name: str, modules: tuple[str, ...], *counts: Mapping[str, np.ndarray]) -> Overlap:
    """Compares masks from the numbers of weights kept by the first, the second and both, and of all weights.

    Args:
      name: of the group of modules.
      modules: in the group.
      counts: four times [layer] by kernel path.
    """
    picked = [np.concatenate([count[path] for path in count if module_of(path) in modules]) for count in counts]
    first, second, both, size = (layers.astype(float) for layers in picked)
    by_chance = first * second / size
    total = size.sum()
    return Overlap(
        modules=name,
        kept=(first.sum() / total, second.sum() / total),
        jaccard=both.sum() / max(1, (first + second - both).sum()),
        jaccard_independent=by_chance.sum() / max(1, (first + second - by_chance).sum()),
        difference_rate=(first + second - 2 * both).sum() / total,
    )
