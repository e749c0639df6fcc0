"""What a sweep has to do, as independent cells."""

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
"""Settings that say how much a method may do; the others make it another method."""
PROMPT = "prompt"
Kind = Literal["base", "method", "shuffled", "baseline"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One thing to find and evaluate.

    Attributes:
      kind: ``base``, the bare model with what costs no masks; ``method``; ``shuffled``, a method that was shown shuffled labels;
        ``baseline``.
      name: of the method or baseline; none for ``base``.
      settings: of the method.
      num_samples: number of calibration pairs.
      seed: of the draw of the calibration pairs, and of all else that is random.
      controls: also masks of the same budget that know nothing of the persona.
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
        """The method's name, with its settings other than the budget."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.settings if key not in BUDGETS)])

    @property
    def budget(self) -> str:
        """The budget it was given; empty where that is the method's default, or there is none."""
        return " ".join(f"{key}={value}" for key, value in self.settings if key in BUDGETS)

    def identity(self) -> dict[str, Any]:
        """What tells the cell from others, JSON-ready."""
        return {**dataclasses.asdict(self), "settings": dict(self.settings)}


def plan(
    entries: Sequence[Mapping[str, Any] | str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    controls: bool | Collection[str] = False,
    baselines: Sequence[str] = (),
    protocol: Protocol = STRICT,
) -> list[Cell]:
    """All cells, the base first and those of one calibration together.

    Args:
      entries: methods, each a name or a mapping of ``name`` and settings; settings that are lists are swept.
      sizes: numbers of calibration pairs.
      seeds: of their draws.
      controls: whether there are controls (for the first seed and the largest size), or names of the methods that have some.
      baselines: ``prompt`` (a part of the base), ``rag`` and names from ``BASELINES``, at the largest size.
      protocol: what a method refuses under it gets no controls.

    Raises:
      InputError: for an unknown method, setting or baseline, or a setting out of range.
    """
    variants = [variant for entry in entries for variant in _variants(entry)]
    names = [name for name, _ in variants]
    if not isinstance(controls, bool) and (unknown := sorted(set(controls) - set(names))):
        raise InputError(f"controls: {unknown[0]!r} is not among the methods of the sweep; {nearest(unknown[0], names)}")
    with_controls = set(names if controls is True else controls or ())
    others = [name for name in dict.fromkeys(baselines) if name != PROMPT]
    check_baselines(others)
    cells = [Cell("base", "none", (), max(sizes), seeds[0], bool(controls))]
    for seed, size in itertools.product(dict.fromkeys(seeds), sorted(set(sizes))):
        found = [Cell("method", name, settings, size, seed) for name, settings in variants]
        if seed == seeds[0] and size == max(sizes):
            chosen = [cell for cell in found if cell.name in with_controls]
            found = _mark_controls(found, with_controls, protocol)
            found += [dataclasses.replace(cell, kind="shuffled") for cell in chosen if cell.method.needs]
        if size == max(sizes):
            found += [Cell("baseline", name, (), size, seed) for name in others]
        cells += found
    return cells


def _variants(entry: Mapping[str, Any] | str) -> Iterator[tuple[str, tuple[tuple[str, Any], ...]]]:
    """A method's name with each combination of its settings."""
    settings = {"name": entry} if isinstance(entry, str) else dict(entry)
    if "name" not in settings:
        raise InputError(f"methods: {settings} has no name; {nearest('', methods.METHODS)}")
    name = settings.pop("name")
    choices = [value if isinstance(value, list) else [value] for value in settings.values()]
    for values in itertools.product(*choices):
        chosen = dict(zip(settings, values, strict=True))
        try:
            methods.by_name(name, **chosen)  # says now what is wrong
        except TypeError as error:
            raise InputError(f"methods: {name} with {chosen}: {error}") from None
        yield name, tuple(chosen.items())


def _mark_controls(cells: Sequence[Cell], names: Collection[str], protocol: Protocol) -> list[Cell]:
    """Marks the first cell of every budget: methods of one budget share their controls."""
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
