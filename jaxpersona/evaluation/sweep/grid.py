"""Expands a sweep's configuration into independent cells."""

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from jaxpersona import methods
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.evaluation.baselines.registry import check_baselines
from jaxpersona.methods.method import Method

BUDGETS = ("sparsity", "max_perplexity_increase", "strength")
"""Method settings that are budgets. Other settings make a different method, and appear in a cell's label."""
PROMPT = "prompt"
Kind = Literal["base", "method", "shuffled", "baseline"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One unit of work of a sweep: masks or a baseline to find and evaluate.

    Attributes:
      kind: ``base`` (the base model, persona prompts, and choosers), ``method``, ``shuffled`` (a method on pairs with shuffled
        labels) or ``baseline``.
      name: of the method or baseline; ``none`` for ``base``.
      settings: of the method.
      num_samples: number of calibration pairs.
      seed: of the draw of calibration pairs and of all other randomness.
      controls: also evaluates persona-blind masks of the same budget (for ``base``: choosers by length or letter).
    """

    kind: Kind
    name: str
    settings: tuple[tuple[str, Any], ...]
    num_samples: int
    seed: int
    controls: bool = False

    @property
    def method(self) -> Method:
        """The method with its settings."""
        return methods.by_name(self.name, **dict(self.settings))

    @property
    def label(self) -> str:
        """The method's name and its settings other than budgets."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.settings if key not in BUDGETS)])

    @property
    def budget(self) -> str:
        """The budget settings; empty if the cell uses the method's default budget or has none."""
        return " ".join(f"{key}={value}" for key, value in self.settings if key in BUDGETS)

    def identity(self) -> dict[str, Any]:
        """Returns the fields that identify the cell, JSON-ready."""
        return {**dataclasses.asdict(self), "settings": dict(self.settings)}


def plan(
    entries: Sequence[Mapping[str, Any] | str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    controls: bool | Collection[str] = False,
    baselines: Sequence[str] = (),
    protocol: Protocol = STRICT,
) -> list[Cell]:
    """Returns all cells, the base first, then grouped by calibration data.

    Args:
      entries: methods, each a name or a mapping of ``name`` and settings; settings that are lists are swept.
      sizes: numbers of calibration pairs.
      seeds: of the draws of calibration pairs.
      controls: True for controls of all methods (at the first seed and the largest size), or the names of methods with controls.
      baselines: ``prompt`` (part of the base cell), ``rag`` and names from ``BASELINES``, at the largest size.
      protocol: a method that the protocol does not allow gets no controls.

    Raises:
      InputError: if a method, setting or baseline is unknown, or a setting is out of range.
    """
    variants: list[tuple[str, tuple[tuple[str, Any], ...]]] = []
    for variant in (variant for entry in entries for variant in _variants(entry)):
        if variant in variants:
            raise InputError(f"methods: {_described(*variant)} is given twice; keep one")
        variants.append(variant)
    names = [name for name, _ in variants]
    if not isinstance(controls, bool) and (unknown := sorted(set(controls) - set(names))):
        raise InputError(f"controls: {unknown[0]!r} is not among the methods of the sweep; {nearest(unknown[0], names)}")
    with_controls = set(names if controls is True else controls or ())
    others = [name for name in dict.fromkeys(baselines) if name != PROMPT]
    check_baselines(others)
    cells = [Cell("base", "none", (), max(sizes), seeds[0], bool(controls))]
    for seed, size in itertools.product(dict.fromkeys(seeds), sorted(set(sizes))):
        group = [Cell("method", name, settings, size, seed) for name, settings in variants]
        if seed == seeds[0] and size == max(sizes):
            chosen = [cell for cell in group if cell.name in with_controls]
            group = _mark_controls(group, with_controls, protocol)
            group += [dataclasses.replace(cell, kind="shuffled") for cell in chosen if cell.method.needs]
        if size == max(sizes):
            group += [Cell("baseline", name, (), size, seed) for name in others]
        cells += group
    return cells


def _variants(entry: Mapping[str, Any] | str) -> Iterator[tuple[str, tuple[tuple[str, Any], ...]]]:
    """Yields a method's name with each combination of its settings."""
    settings = {"name": entry} if isinstance(entry, str) else dict(entry)
    if "name" not in settings:
        raise InputError(f"methods: {settings} has no name; {nearest('', methods.METHODS)}")
    name = settings.pop("name")
    choices = [value if isinstance(value, list) else [value] for value in settings.values()]
    for key, values in zip(settings, choices, strict=True):
        if not values:
            raise InputError(f"methods: {key} of {name} is an empty list; give at least one value")
    for values in itertools.product(*choices):
        chosen = {key: value for key, value in zip(settings, values, strict=True) if value is not None}
        methods.by_name(name, **chosen)  # raises now rather than in the middle of the sweep
        yield name, tuple(chosen.items())


def _described(name: str, settings: Sequence[tuple[str, Any]]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in settings)])


def _mark_controls(cells: Sequence[Cell], names: Collection[str], protocol: Protocol) -> list[Cell]:
    """Turns controls on in the first cell of every budget, because methods of equal budget share their controls."""
    seen, marked = set(), []
    for cell in cells:
        method = cell.method
        first = cell.name in names and method.budget not in seen and not _refuses(method, protocol)
        if first:
            seen.add(method.budget)
        marked.append(dataclasses.replace(cell, controls=first))
    return marked


def _refuses(method: Method, protocol: Protocol) -> bool:
    try:
        method.check(protocol)
    except InputError:
        return True
    return False
