"""jaxpersona's side of a comparison, a process of its own: ``python -m jaxpersona.benchmarks.worker TASK OPTIONS RESULT``."""

import json
import pathlib
import sys
import time

from jaxpersona.benchmarks.command import import_benchmark
from jaxpersona.benchmarks.compilations import Compilations
from jaxpersona.core.memory import peak_memory_bytes


def main(task: str, options: str, result: str) -> None:
    """Calls ``measure(options, seconds)`` of a benchmark, which returns its ``values`` and adds seconds by stage.

    Args:
      task: name of the benchmark.
      options: JSON file with the task's options, and the time at which the process was ``started``.
      result: JSON file to write: what ``measure`` returned, seconds, peak memory in bytes, number of compilations.
    """
    settings = json.loads(pathlib.Path(options).read_text())
    benchmark = import_benchmark(task)
    seconds = {"import": time.time() - settings["started"]}
    with Compilations() as compilations:
        found = benchmark.measure(settings, seconds)
    seconds["of which compile"] = compilations.seconds
    measured = {"seconds": seconds, "peak": peak_memory_bytes(), "compilations": compilations.count}
    pathlib.Path(result).write_text(json.dumps({**found, **measured}))


if __name__ == "__main__":
    main(*sys.argv[1:])
