"""Checks and times everything once on the device at hand: the first thing to run on a new kind of GPU or TPU.

Each part is a process of its own, so that one that fails, aborts or hangs does not stop the others.
"""

import dataclasses
import datetime
import json
import pathlib
import statistics
import tempfile
import time
from typing import Any

from jaxpersona.benchmarks import sides
from jaxpersona.benchmarks.accelerator_parts import PARTS
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.random_llama import llama_shape
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.masks.bundle import package_versions

_ON_HOST = {"JAX_PLATFORMS": "cpu"}
_WORKER = "jaxpersona.benchmarks.worker"
_LARGEST_SHARE = 0.5  # of the remaining time that one part may take
FULL: dict[str, Any] = {
    "square": 8192,
    "shapes": [(16, 4096, 1024, 8), (3, 300, 100, 2), (40, 513, 130, 3)],
    "kernels": {"personas": [1, 4, 8], "rows": 16, "prefill": 2048, "repeats": 10},
    "dtype": "bfloat16",
    "llama": llama_shape(1),
    "pairs": 64,
    "generated": (48, 128),
    "requests": 16,
    "new_tokens": 64,
}
SMALL: dict[str, Any] = {
    "square": 256,
    "shapes": [(16, 256, 64, 8), (3, 300, 100, 2)],
    "kernels": {"personas": [1, 8], "rows": 8, "prefill": 16, "repeats": 1, "divide": 64},
    "dtype": "float32",
    "llama": llama_shape(32) | {"num_hidden_layers": 2, "vocab_size": 320},
    "pairs": 4,
    "generated": (4, 24),
    "requests": 8,
    "new_tokens": 4,
}
"""Sizes for a CPU, on which only whether everything runs is of interest."""
_SMALL_FORM = "There is no GPU or TPU that JAX can use here: this was the small form, whose times mean nothing."
_LEGEND = """*Beside*: what the data sheet allows, or the largest error allowed; for kernels, the time of dense weights, or of a
masked model for each persona."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part's outcome.

    Attributes:
      name: of the part.
      seconds: wall time, start of the process included.
      problem: why it failed or was left out; None if it ended well.
      found: what it measured (``accelerator_parts.Found``).
    """

    name: str
    seconds: float
    problem: str | None
    found: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Report:
    """All parts' outcomes, printed and written as JSON and as a table in Markdown.

    Attributes:
      parts: in their order.
      minutes: that were allowed.
      small: whether it was the small form.
      date: of the run.
    """

    parts: list[Part]
    minutes: float
    small: bool
    date: str = dataclasses.field(default_factory=lambda: datetime.date.today().isoformat())

    def print(self) -> None:
        """Prints the table."""
        print(self.markdown(), flush=True)

    def write(self, path: str) -> None:
        """Writes the JSON file, and the table beside it with suffix ``.md``.

        Raises:
          InputError: if a file cannot be written.
        """
        target = pathlib.Path(path).expanduser()
        record = {"schema_version": 1, "versions": package_versions(), **dataclasses.asdict(self)}
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, json.dumps(record, indent=1) + "\n")
            write_atomically(target.with_suffix(".md"), self.markdown() + "\n")
        except OSError as error:
            raise InputError(f"{path} could not be written ({error.strerror or error})") from None

    def markdown(self) -> str:
        """Returns the facts of the device, a table of the parts, and one of what they measured."""
        facts = {key: value for part in self.parts for key, value in part.found.get("facts", {}).items()}
        run = {"date": self.date, "command": f"python -m jaxpersona.benchmark accelerator --minutes {self.minutes:g}"}
        lines = [f"### jaxpersona on {facts.get('kind', 'an unknown device')}", ""] + [f"**{_SMALL_FORM}**", ""] * self.small
        lines += [f"- {name}: {value}" for name, value in {**run, **facts, **package_versions()}.items()]
        lines += ["", "| part | result | time |", "|---|---|---|"]
        lines += [f"| {part.name} | {_cell(part.problem or 'ok')} | {part.seconds:.0f} s |" for part in self.parts]
        lines += ["", "| part | measured | value | beside | value / beside |", "|---|---|---|---|---|"]
        lines += [row for part in self.parts for row in _rows(part)]
        return "\n".join([*lines, "", _LEGEND])


def _rows(part: Part) -> list[str]:
    """Returns the rows of a part's measurements, medians, of which the first names the part."""
    rows, name = [], part.name
    for what, (unit, numbers) in part.found.get("values", {}).items():
        value, other = statistics.median(numbers), part.found.get("beside", {}).get(what)
        compared = f"{_number(statistics.median(other))} {unit} | {value / statistics.median(other):.3g}" if other else " | "
        rows.append(f"| {name} | {what} | {f'{_number(value)} {unit}'.strip()} | {compared} |")
        name = ""
    return rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _cell(text: str) -> str:
    """Returns a text that does not break a Markdown table."""
    return " ".join(text.replace("|", "/").split())


def run(config: BenchmarkConfig) -> Report:
    """Runs all parts within ``minutes``, in a small form if there is only a CPU."""
    end, parts = time.monotonic() + 60 * config.minutes, []
    sizes, on_cpu = SMALL, True
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as folder:
        masks = str(pathlib.Path(folder) / "masks.npz")
        for name in PARTS:
            own = (SMALL if name.startswith("tiny") else sizes) | {"masks": masks}
            part = _run_part(name, own, end, _ON_HOST if name == "tiny run on the host" else {})
            print(f"{name}: {part.problem or 'ok'} ({part.seconds:.0f} s)", flush=True)
            parts.append(part)
            if name == "device" and part.found.get("facts", {}).get("platform", "cpu") != "cpu":
                sizes, on_cpu = FULL, False
    return Report(parts, config.minutes, on_cpu)


def _run_part(name: str, options: dict[str, Any], end: float, variables: dict[str, str]) -> Part:
    start = time.monotonic()
    remaining = end - start
    if remaining < 5:
        return Part(name, 0.0, "left out: no time left; give more --minutes", {})
    environment, patience = {**sides.cache_variables(), **variables}, max(60.0, _LARGEST_SHARE * remaining)
    try:
        options = {**options, "part": name}
        done = sides.run_task(_WORKER, "accelerator-parts", options, environment, min(patience, remaining))
    except (InputError, OSError) as error:
        return Part(name, time.monotonic() - start, str(error).removeprefix(f"{_WORKER} accelerator-parts "), {})
    found = {key: done.result[key] for key in ("values", "beside", "facts") if key in done.result}
    return Part(name, time.monotonic() - start, None, found)
