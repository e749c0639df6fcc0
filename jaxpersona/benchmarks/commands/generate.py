"""Greedy generation, tokens a second once warm, beside Transformers' generate in its better dtype."""

import dataclasses
import statistics
import tempfile

from jaxpersona.benchmarks import subject
from jaxpersona.benchmarks.processes import OURS, Finished, baseline, cache_in, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.data.readers import load_pairs
from jaxpersona.data.text import chat_text


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares greedy generation of a fixed number of tokens.

    Args:
      model: smollm2-135m-instruct, a Hugging Face folder, or a .gguf file
      data: builtin:NAME or a file of pairs, whose questions are the prompts
      batches: numbers of prompts at a time
      new_tokens: tokens after each prompt
      dtype: of our parameters and computation
      repeats: how often each side runs, one after the other; each run measures three times
      output: JSON file for the rows
    """

    model: str = "smollm2-135m-instruct"
    data: str = "builtin:wealth"
    batches: list[int] = dataclasses.field(default_factory=lambda: [1, 8])
    new_tokens: int = 64
    dtype: str = "auto"
    repeats: int = 3
    output: str | None = None


def run(config: Config) -> list[Row]:
    """Rows ``generate/...``, one for each batch size."""
    theirs, prepared = baseline(), subject.prepare(config.model)
    pairs = load_pairs(config.data, "test" if config.data.startswith("builtin:") else None).sample(max(config.batches), 42)
    prompts = [chat_text(prepared.model.tokenizer, pair.prompt) for pair in pairs]
    options = {"prompts": prompts, "batches": config.batches, "new_tokens": config.new_tokens, "repeats": 3}
    rates: dict[tuple[str, int], list[float]] = {}
    finished: dict[str, Finished] = {}
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as cache:
        for _ in range(config.repeats):
            finished = {
                "ours": run_process(OURS, "generate", {"model": prepared.path, "dtype": config.dtype, **options}, cache_in(cache))
            }
            for dtype in ("float32", "bfloat16"):
                finished[dtype] = run_process(theirs, "generate", {"model": prepared.folder, "dtype": dtype, **options})
            for side, process in finished.items():
                for size, found in process.result["tokens_per_second"].items():
                    rates.setdefault((side, int(size)), []).extend(found)
    found, rows = place(processor(), finished["float32"].result), []
    for size in config.batches:
        better = max(("float32", "bfloat16"), key=lambda dtype: statistics.median(rates[dtype, size]))
        name = f"generate/batch {size}, PyTorch in {better}"
        rows.append(row(name, rates["ours", size], rates[better, size], "tokens/s", **found))
    return rows
