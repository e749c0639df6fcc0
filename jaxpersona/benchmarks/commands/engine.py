"""Generation for requests of several personas: the engine beside one request after another with masks folded in."""

import dataclasses
import tempfile
from typing import Any

from jaxpersona.benchmarks.processes import OURS, cache_in, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.commands.shared_config import check_at_least


@dataclasses.dataclass(frozen=True)
class Config:
    """Times the engine, folded and packed, beside generation one request after another; each side is a process of its own.

    Args:
      model: smollm2-135m-instruct, a Hugging Face folder, or a .gguf file
      personas: distinct personas among the requests; their masks are random and keep 95 percent
      requests: how many requests there are
      max_new_tokens: tokens of every answer
      dtype: of parameters and computation
      repeats: how often each side runs, one after the other; each run serves the requests three times
      output: JSON file for the rows
    """

    model: str = "smollm2-135m-instruct"
    personas: list[int] = dataclasses.field(default_factory=lambda: [2, 8])
    requests: int = 8
    max_new_tokens: int = 64
    dtype: str = "auto"
    repeats: int = 3
    output: str | None = None

    def __post_init__(self) -> None:
        for key in ("requests", "max_new_tokens", "repeats"):
            check_at_least(1, getattr(self, key), key)
        for count in self.personas:
            check_at_least(1, count, "personas")


def run(config: Config) -> list[Row]:
    """Rows ``engine/...``: tokens a second, what is held as a multiple of the parameters, and peak memory of the process.

    Its baseline is that of a process that gives the same prompts, one after another, to the model without personas.
    """
    found, rows = place(processor()), []
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as cache:
        for count in config.personas:
            kinds = ("folded", "packed") if count <= 2 else ("packed",)
            results: dict[str, list[dict[str, Any]]] = {}
            for _ in range(config.repeats):
                for kind in (*kinds, "alone"):
                    results.setdefault(kind, []).append(_serve(config, kind, count, cache))
                results.setdefault("bare", []).append(_serve(config, "alone", 0, cache))
            for kind in kinds:
                rows += _rows(f"engine/{config.requests} requests of {count} personas, {kind}", results, kind, found)
    return rows


def _serve(config: Config, kind: str, personas: int, cache: str) -> dict[str, Any]:
    options = {"model": config.model, "dtype": config.dtype, "kind": kind, "personas": personas}
    sizes = {"requests": config.requests, "new_tokens": config.max_new_tokens, "repeats": 3}
    return run_process(OURS, "serve", options | sizes, cache_in(cache)).result


def _rows(name: str, results: dict[str, list[dict[str, Any]]], kind: str, found: dict[str, Any]) -> list[Row]:
    speeds = {side: [speed for one in runs for speed in one["tokens_per_second"]] for side, runs in results.items()}
    peaks = {side: [one["peak"] / 1e6 for one in runs] for side, runs in results.items()}
    return [
        row(f"{name}: beside one after another", speeds[kind], speeds["alone"], "tokens/s", **found),
        row(f"{name}: weights, masks and cache", [results[kind][0]["models"]], [], "of the model's", **found),
        row(f"{name}: peak memory beside the model alone", peaks[kind], peaks["bare"], "MB", **found),
    ]
