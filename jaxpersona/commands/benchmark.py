"""Command: measures speed, memory and size, most of it beside a plain PyTorch rendering of the published recipe.

python -m jaxpersona.benchmark discover --output discover.json
"""

import functools
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

from jaxpersona.benchmarks import commands
from jaxpersona.benchmarks.rows import print_rows, write_rows
from jaxpersona.commands import cli
from jaxpersona.commands.execution import execute, leave
from jaxpersona.core.errors import InputError, nearest


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark called by the first argument with the rest as its options; never returns."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: python -m jaxpersona.benchmark {{{','.join(names())}}} [options]\n\n{__doc__}", end="")
        print("\n".join(f"  {name:<16} {(_module(name).__doc__ or '').splitlines()[0]}" for name in names()))
        sys.exit(0)
    if argv[0] not in names():
        leave(f"error: benchmark {argv[0]!r} is unknown; {nearest(argv[0], names())}", 2)
    module = _module(argv[0])
    try:
        config = cli.parse(f"benchmark {argv[0]}", module.Config, argv[1:])
    except InputError as error:
        leave(f"error: {error}", 2)
    execute(functools.partial(_run, module), config, "")


def _module(name: str) -> Any:
    return importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")


def _run(module: Any, config: Any) -> None:
    """Runs one benchmark, prints its rows as a table, and writes them where ``config.output`` says."""
    rows = module.run(config)
    print_rows(rows)
    if config.output is not None:
        write_rows(config.output, rows)
