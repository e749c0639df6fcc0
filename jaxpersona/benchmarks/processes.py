"""Both sides of a comparison as whole processes: wall time from outside, stages and peak memory from inside.

Either side is called with the name of a task, a JSON file of options and one to write its result to. Options say when the
process was ``started`` (seconds since 1970), so that it can tell how long its imports took.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpersona.core.errors import InputError

OURS = (sys.executable, "-m", "jaxpersona.benchmarks.ours")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A process that has done its task.

    Attributes:
      seconds: from start to end.
      result: what it wrote: ``seconds`` by stage, ``peak`` memory in bytes, and what its task found.
    """

    seconds: float
    result: dict[str, Any]


def baseline() -> tuple[str, ...]:
    """How to start the PyTorch side.

    Raises:
      InputError: when its script or PyTorch is missing.
    """
    script = pathlib.Path(__file__).parents[2] / "benchmarks" / "torch_baseline.py"
    if not script.is_file():
        raise InputError(f"{script} is missing; run the benchmark from a clone of the repository")
    if importlib.util.find_spec("torch") is None:
        raise InputError('the baseline needs PyTorch; pip install ".[benchmark]", or give --baseline false')
    return (sys.executable, str(script))


def run_process(
    command: Sequence[str], task: str, options: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Finished:
    """Runs one side to its end.

    Raises:
      InputError: when it fails, with the last line it wrote to standard error.
    """
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as folder:
        files = [pathlib.Path(folder) / name for name in ("options.json", "result.json", "errors.txt")]
        files[0].write_text(json.dumps({**options, "started": time.time()}))
        with files[2].open("w") as errors:
            start = time.perf_counter()
            process = subprocess.run(
                [*command, task, str(files[0]), str(files[1])],
                env={**os.environ, **(environment or {})},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                check=False,
            )
            seconds = time.perf_counter() - start
        if process.returncode or not files[1].is_file():
            said = files[2].read_text().strip().splitlines() or [f"status {process.returncode}"]
            raise InputError(f"{' '.join(command[1:])} {task} failed: {said[-1]}")
        return Finished(seconds, json.loads(files[1].read_text()))


def cache_in(folder: str) -> dict[str, str]:
    """Environment variables that keep compiled programs in ``folder``, as the commands do in the user's cache."""
    return {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def processor() -> str:
    """The CPU's name and number of cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{cores} x {name}"
