"""Selects modules and layers by a short text, such as ``mlp``, ``q_proj,k_proj@0-9`` or ``attention@3,7``."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.models.sites import ATTENTION, MLP, MODULES, module_of
from jaxpersona.ops.topk import budget

_GROUPS = {"all": MODULES, "attention": ATTENTION, "mlp": MLP} | {module: (module,) for module in MODULES}


@dataclasses.dataclass(frozen=True)
class Selector:
    """Selects modules by name or group (``all``, ``attention``, ``mlp``) and, after ``@``, layers by number or range.

    Raises:
      InputError: for an unknown module, or a part after ``@`` that is not a layer or range of layers.

    >>> Selector("mlp@0-1").matches("up_proj", layers=4)
    array([ True,  True, False, False])
    """

    text: str

    def __post_init__(self) -> None:
        for name in self._names():
            if name not in _GROUPS:
                raise InputError(f"selector {self.text!r}: {name!r} matches no module; {nearest(name, _GROUPS)}")
        for part in self._ranges():
            if not all(re.fullmatch(r"[0-9]+", bound.strip()) for bound in part.split("-")) or part.count("-") > 1:
                raise InputError(f"selector {self.text!r}: {part!r} is not a layer or range of layers such as 3 or 0-9")

    def _names(self) -> list[str]:
        return [name.strip() for name in self.text.partition("@")[0].split(",")]

    def _ranges(self) -> list[str]:
        _, at, layers = self.text.partition("@")
        return [part.strip() for part in layers.split(",")] if at else []

    def matches(self, module: str, layers: int) -> np.ndarray:
        """Marks the layers in which ``module`` is selected; returns bool [layers].

        Raises:
          InputError: if a range of layers lies outside the model.
        """
        found = np.zeros(layers, bool)
        for part in self._ranges():
            first, last = int(part.split("-")[0]), int(part.split("-")[-1])
            if first > last or last >= layers:
                raise InputError(f"selector {self.text!r}: layers {part} match nothing; the model has layers 0-{layers - 1}")
            found[first : last + 1] = True
        chosen = any(module in _GROUPS[name] for name in self._names())
        return chosen & (found if self._ranges() else ~found)


def check_sparsity(value: float, where: str) -> float:
    """Returns ``value`` if it is a number in [0, 1); otherwise raises an InputError that names ``where``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InputError(f"{where} is {value!r}; a sparsity must lie in [0, 1)")
    return value


def budgets(
    shapes: Mapping[str, tuple[int, ...]],
    sparsity: float,
    select: str = "all",
    overrides: Mapping[str, float] | None = None,
    exact: bool = True,
) -> dict[str, np.ndarray]:
    """Returns the number of weights that each output keeps.

    Args:
      shapes: [layer, in, out] by kernel path.
      sparsity: share of weights to remove, unless overridden.
      select: selector of the kernels to mask; the others keep every weight.
      overrides: sparsity by selector; later ones take precedence.
      exact: see ``topk.budget``.

    Returns:
      int [layer] by kernel path.

    Raises:
      InputError: for a sparsity outside [0, 1), or a selector that matches nothing.
    """
    chosen, rules = Selector(select), {Selector(text): value for text, value in (overrides or {}).items()}
    check_sparsity(sparsity, "sparsity")
    keep, used = {}, set()
    for path, (layers, rows, _) in shapes.items():
        selected = chosen.matches(module_of(path), layers)
        values = np.full(layers, sparsity, object)
        for rule, value in rules.items():
            matched = rule.matches(module_of(path), layers) & selected
            values[matched] = check_sparsity(value, f"sparsity of {rule.text!r}")
            used |= {rule} if matched.any() else set()
        chosen_layers = zip(values, selected, strict=True)
        keep[path] = np.array([budget(rows, value, exact) if on else rows for value, on in chosen_layers])
    for rule in rules:
        if rule not in used:
            raise InputError(f"sparsity override {rule.text!r} matches nothing within select {select!r}")
    return keep
