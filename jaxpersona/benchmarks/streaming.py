"""Measures memory and time of discovery a layer at a time beside discovery in memory, and runs both under a memory limit."""

import dataclasses
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.random_llama import hf_config, write_model
from jaxpersona.benchmarks.sides import cache_variables
from jaxpersona.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that has ended, well or not.

    Attributes:
      status: exit status; if negative, the signal that ended it.
      seconds: wall time from start to end.
      anonymous: peak memory of its own, without pages of files, in MB.
      data: peak of what ``RLIMIT_DATA`` limits, in MB.
    """

    status: int
    seconds: float
    anonymous: float
    data: float


def run(config: BenchmarkConfig) -> Measurements:
    """Measures own memory and time, and the exit statuses under a limit of ``room`` above what two layers take."""
    if not sys.platform.startswith("linux"):
        raise InputError("the benchmark streaming runs only on Linux; choose another")
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as folder:
        work = pathlib.Path(folder)
        shapes = (hf_config(layers, config.width, config.width * 7 // 2) for layers in (2, config.layers))
        small, large = (write_model(work / name, shape) for name, shape in zip(("small", "large"), shapes, strict=True))
        size = sum(file.stat().st_size for file in large.glob("*.safetensors")) / 1e6
        two, streamed = discover(config, small, work, stream=True), discover(config, large, work, stream=True)
        resident = [discover(config, large, work, stream=False)] if config.baseline else []
        limit = two.data + config.room
        held, failed = (discover(config, large, work, stream, limit) for stream in (True, False))
    measured = Measurements("streaming")
    measured.add("weights", "MB", [size])
    measured.add("peak memory of two layers alone", "MB", [two.anonymous])
    measured.add("peak memory", "MB", [streamed.anonymous], [ended.anonymous for ended in resident])
    measured.add("whole process", "s", [streamed.seconds], [ended.seconds for ended in resident])
    measured.add("limit", "MB", [limit])
    measured.add("exit status under the limit (in memory: baseline)", "", [held.status], [failed.status])
    return measured


def discover(config: BenchmarkConfig, model: pathlib.Path, work: pathlib.Path, stream: bool, limit: float | None = None) -> Ended:
    """Runs the command to its end, with at most ``limit`` MB of data."""
    options = {"model.name": model, "model.dtype": "float32", "stream_layers": str(stream).lower(), "overwrite": "true"}
    options |= {"method.name": config.method, "data.num_samples": config.samples, "data.text": "prompt_response"}
    options |= {"perplexity.max_tokens": 0, "output_dir": work / "run", "reuse_factors": "false"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxpersona.discover", *(f"--{key}={value}" for key, value in options.items())],
        # More arenas would ask for more than they use. Rust's backtrace of a failed allocation may wait for itself for ever.
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0", **cache_variables()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if limit is not None:  # from outside, because JAX must not be forked
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (int(limit * 1e6),) * 2)
    peaks = {"RssAnon": 0.0, "VmData": 0.0}
    while process.poll() is None:
        peaks |= {key: max(value, peaks[key]) for key, value in _memory(process.pid, peaks).items()}
        time.sleep(0.01)
    return Ended(process.returncode, time.perf_counter() - start, *peaks.values())


def _memory(process: int, names: Iterable[str]) -> dict[str, float]:
    """Returns memory of a process in MB by its name in ``/proc``; nothing once it has ended."""
    try:
        lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        lines = []
    return {line.split(":")[0]: int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith(tuple(names))}
