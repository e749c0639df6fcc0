"""Command line of the benchmarks: parses the options of a benchmark, then imports and runs it.

python -m jaxpersona.benchmark discover --output discover.json
"""

import functools
import importlib
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from jaxpersona.benchmarks.config import BENCHMARKS, BenchmarkConfig, options_of
from jaxpersona.commands import cli
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.files import check_output_file


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark named by the first argument, with the rest as its options, and exits; without arguments, lists all.

    Exit status: as of ``commands.cli.main``.
    """
    name, *options = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_overview())
        sys.exit(0)
    try:
        if name not in BENCHMARKS:
            raise InputError(f"benchmark {name!r} is unknown; {nearest(name, BENCHMARKS)}")
        config = BenchmarkConfig(**vars(cli.parse(f"benchmark {name}", options_of(name), options)))
    except InputError as error:
        print(" ".join(f"error: {error}".split()), file=sys.stderr)
        sys.exit(2)
    (execution,) = cli.load_modules("jaxpersona.commands.execution")
    execution.execute(functools.partial(_run, name), config, "nothing was written; run the same command again")


def import_benchmark(name: str) -> Any:
    """Imports and returns the module of a benchmark."""
    return importlib.import_module(f"jaxpersona.benchmarks.{name.replace('-', '_')}")


def _run(name: str, config: BenchmarkConfig) -> None:
    if config.output is not None:
        check_output_file(pathlib.Path(config.output).expanduser())
    measured = import_benchmark(name).run(config)
    measured.print()
    if config.output is not None:
        measured.write(config.output)


def _overview() -> str:
    usage = "usage: python -m jaxpersona.benchmark TASK [options]"
    lines = [f"  {name:<16}{benchmark.summary}" for name, benchmark in BENCHMARKS.items()]
    more = "python -m jaxpersona.benchmark TASK --help explains the options of a task."
    return "\n".join([usage, "", "Measures time, memory and size.", "", "tasks:", *lines, "", more])
