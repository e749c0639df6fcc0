"""Base class of methods with a budget per output: every output of a kernel keeps exactly K of its weights."""

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import numpy as np

from jaxpersona.core.protocol import Protocol
from jaxpersona.core.tree import Params
from jaxpersona.methods.method import Method
from jaxpersona.models import sizes
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.selector import Selector, budgets, check_sparsity
from jaxpersona.models.sites import HEAD, kernels
from jaxpersona.ops.topk import budget


@dataclasses.dataclass(frozen=True)
class RowBudget(Method):
    """A method that keeps the same number of weights in every output of a kernel.

    Attributes:
      sparsity: fraction of every output's weights that is removed, in [0, 1).
      select: modules and layers that are masked (``models/selector.py``).
      overrides: sparsity by selector, as a mapping or (selector, sparsity) pairs; later ones win.
    """

    sparsity: float = 0.3
    select: str = "all"
    overrides: Mapping[str, float] | tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, "sparsity")
        Selector(self.select)
        given = self.overrides.items() if isinstance(self.overrides, Mapping) else self.overrides
        pairs = tuple((text, value) for text, value in given)
        for text, value in pairs:
            Selector(str(text))
            check_sparsity(value, f"sparsity of {text!r}")
        object.__setattr__(self, "overrides", pairs)  # jit needs a hashable value

    @property
    def budget(self) -> Hashable:
        """Sparsity, selector and overrides."""
        return self.sparsity, self.select, self.overrides

    def block(self, protocol: Protocol) -> int | None:
        """Returns the number of consecutive inputs that share a budget; None if all inputs of an output do."""
        return None

    def masked(self, params: Params, protocol: Protocol) -> dict[str, jax.Array]:
        """Returns the kernels to mask, [layer, in, out] by path."""
        return kernels(params)

    def check_model(self, config: ModelConfig) -> None:
        """Refuses selectors that match nothing."""
        budgets(sizes.kernel_shapes(config), self.sparsity, self.select, dict(self.overrides))

    def kept(self, flat: Mapping[str, Any], protocol: Protocol) -> dict[str, np.ndarray]:
        """Returns the number of weights that every output keeps.

        Args:
          flat: kernels, or their shapes, [layer, in, out] by path.

        Returns:
          int32 [layer] by kernel path, or [layer, blocks] if blocks have budgets.

        Raises:
          InputError: if a selector matches nothing.
        """
        block = self.block(protocol)
        shapes = {path: kernel.shape for path, kernel in flat.items()}
        if block is None:
            return self._kept(shapes, protocol)
        whole = self._kept({path: (layers, block, out) for path, (layers, _, out) in shapes.items()}, protocol)
        rest = {path: (layers, rows % block, out) for path, (layers, rows, out) in shapes.items() if rows % block}
        last = self._kept(rest, protocol) if rest else {}
        return {
            path: np.stack([whole[path]] * (rows // block) + ([last[path]] if path in last else []), axis=1)
            for path, (_, rows, _) in shapes.items()
        }

    def _kept(self, shapes: Mapping[str, tuple[int, ...]], protocol: Protocol) -> dict[str, np.ndarray]:
        inner = {path: shape for path, shape in shapes.items() if path != HEAD}
        keep = budgets(inner, self.sparsity, self.select, dict(self.overrides), protocol.exact_budget)
        if HEAD in shapes:
            keep[HEAD] = np.array([budget(shapes[HEAD][1], self.sparsity, protocol.exact_budget)])
        return {path: value.astype(np.int32) for path, value in keep.items()}
