"""The data sets of a sweep: each is swept by itself, in a folder of its own."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxpersona.commands.sweep_config import SweepConfig
from jaxpersona.core.errors import InputError
from jaxpersona.core.kinds import check_kinds


@dataclasses.dataclass(frozen=True)
class SweepSet:
    """A data set, and how it differs from the other ones.

    Attributes:
      source: data spec of the calibration pairs.
      held_out: data spec of the pairs to evaluate on; None: as configured for all, by default the test split.
      seeds: None: as configured for all.
      name: of its folder; None: the source without its prefix, folders and suffix.
    """

    source: str
    held_out: str | None = None
    seeds: list[int] | int | None = None
    name: str | None = None

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.name or pathlib.PurePath(self.source.replace(":", "/")).stem


def sweeps_of(config: SweepConfig) -> dict[str, SweepConfig]:
    """Returns the sweep of each data set by its name; only the given one, by its source, if no sets are listed.

    Raises:
      InputError: if there are none, a set has an unknown key, a value of another kind or no source, or two would share a folder.
    """
    if config.sets is None:
        return {config.data.source: config}
    if not config.sets:
        raise InputError("sets is empty; give at least one, or leave it out for data.source")
    sweeps: dict[str, SweepConfig] = {}
    for entry in config.sets:
        each = _set_of(entry)
        if each.folder in sweeps:
            raise InputError(f"sets: two of them are called {each.folder!r}; give one a name")
        sweeps[each.folder] = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, source=each.source),
            held_out=dataclasses.replace(config.held_out, source=each.held_out or config.held_out.source),
            seeds=config.seeds if each.seeds is None else each.seeds,
            sets=None,
            output_dir=str(pathlib.PurePath(config.output_dir) / each.folder),
        )
    return sweeps


def _set_of(entry: Mapping[str, Any] | str) -> SweepSet:
    if isinstance(entry, str):
        return SweepSet(entry)
    known = [field.name for field in dataclasses.fields(SweepSet)]
    if "source" not in entry or (set(entry) - set(known)):
        raise InputError(f"sets: {dict(entry)}: give source, and optionally {', '.join(known[1:])}")
    check_kinds(SweepSet, entry, f"sets: {dict(entry)}")
    found = SweepSet(**entry)
    if found.folder in ("", "..") or pathlib.PurePath(found.folder).name != found.folder:
        raise InputError(f"sets: {found.folder!r} is no name of a folder; give a name without slashes")
    return found
