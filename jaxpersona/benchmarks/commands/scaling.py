"""How time and memory of discovery grow with tokens, layers and width, on random models made on the spot."""

import dataclasses
import json
import pathlib
import tempfile
from typing import Any

import numpy as np

from jaxpersona.benchmarks.processes import OURS, Finished, cache_in, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row

_BASE = {"tokens": 16384, "layers": 8, "width": 512}
_DIRECTIONS = {"tokens": (8192, 16384, 32768), "layers": (4, 8, 16), "width": (512, 1024, 2048)}
_HEAD, _VOCABULARY = 64, 1024


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures calibration and masks on random Llamas (MLP three times as wide, rows of 256 tokens), one size varied at a time.

    Args:
      dtype: of parameters and computation
      repeats: how often each size runs
      output: JSON file for the rows
    """

    dtype: str = "auto"
    repeats: int = 3
    output: str | None = None


def run(config: Config) -> list[Row]:
    """Rows ``scaling/SIZE VALUE: what``, and ``scaling/SIZE: exponent of what``, the slope of a line through the logarithms."""
    found, rows = place(processor()), []
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as work:
        for direction, values in _DIRECTIONS.items():
            measured: dict[str, list[float]] = {}
            for value in values:
                for what, unit, each in _measure(config, {**_BASE, direction: value}, pathlib.Path(work)):
                    rows.append(row(f"scaling/{direction} {value}: {what}", each, [], unit, **found))
                    measured.setdefault(what, []).append(rows[-1].value)
            for what, each in measured.items():
                rows.append(row(f"scaling/{direction}: exponent of {what}", [slope(values, each)], [], "", **found))
    return rows


def slope(sizes: Any, values: Any) -> float:
    """Exponent p of values ~ sizes ** p, by least squares on the logarithms.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _measure(config: Config, size: dict[str, int], work: pathlib.Path) -> list[tuple[str, str, list[float]]]:
    folder = work / "-".join(map(str, size.values()))
    if not folder.is_dir():
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(_hf_config(size)))
    options = {"config": str(folder / "config.json"), "dtype": config.dtype, "tokens": size["tokens"]}
    runs: list[Finished] = []
    for _ in range(config.repeats):
        runs.append(run_process(OURS, "scaling", options, cache_in(str(work / "cache"))))
    seconds = {stage: [run.result["seconds"][stage] for run in runs] for stage in ("calibrate", "mask")}
    peak = [(run.result["peak"] - run.result["before"]) / 1e6 for run in runs]
    return [("calibrate", "s", seconds["calibrate"]), ("mask", "s", seconds["mask"]), ("memory above start", "MB", peak)]


def _hf_config(size: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": _VOCABULARY,
        "hidden_size": size["width"],
        "intermediate_size": 3 * size["width"],
        "num_hidden_layers": size["layers"],
        "num_attention_heads": size["width"] // _HEAD,
        "num_key_value_heads": size["width"] // _HEAD,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
