"""Switching persona: from one mask to another, both in memory, until the new parameters are there."""

import dataclasses
import tempfile

from jaxpersona.benchmarks import subject
from jaxpersona.benchmarks.processes import OURS, baseline, cache_in, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares switching between two masks that remove 30 % of the weights at random.

    Args:
      model: smollm2-135m-instruct, a Hugging Face folder, or a .gguf file
      dtype: of our parameters
      switches: how often a run switches; the first, which compiles, is a row of its own
      repeats: how often each side runs, one after the other
      output: JSON file for the rows
    """

    model: str = "smollm2-135m-instruct"
    dtype: str = "auto"
    switches: int = 12
    repeats: int = 3
    output: str | None = None


def run(config: Config) -> list[Row]:
    """Rows ``switch/...``."""
    theirs, prepared = baseline(), subject.prepare(config.model)
    ours, torch = [], []
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as cache:
        for _ in range(config.repeats):
            options = {"model": prepared.path, "dtype": config.dtype, "repeats": config.switches}
            ours.append(run_process(OURS, "switch", options, cache_in(cache)).result)
            torch.append(run_process(theirs, "switch", {"model": prepared.folder, "repeats": config.switches}).result)
    found = place(processor(), torch[0])
    later, their_later = ([seconds for result in side for seconds in result["switch"][1:]] for side in (ours, torch))
    first, their_first = ([result["switch"][0] for result in side] for side in (ours, torch))
    return [
        row("switch/persona", later, their_later, "s", **found),
        row("switch/first, with compilation", first, their_first, "s", **found),
    ]
