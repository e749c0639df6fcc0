"""What devices of a mesh tell each other, hold, and take to compile, at a model's shapes and on virtual devices."""

import dataclasses
from typing import Any

from jaxpersona.benchmarks.processes import OURS, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.commands.shared_config import check_at_least

LLAMA_3_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
_WIDTHS = ("vocab_size", "hidden_size", "intermediate_size")


@dataclasses.dataclass(frozen=True)
class Config:
    """Compiles statistics and Wanda masks of Llama-3-8B in bfloat16 for every mesh shape; nothing is computed or allocated.

    Args:
      devices: numbers of virtual devices
      rows: of a batch, over all devices (strong scaling) and of each device of data (weak scaling)
      length: tokens of a row
      divide: how many times narrower the model is than Llama-3-8B
      output: JSON file for the rows
    """

    devices: list[int] = dataclasses.field(default_factory=lambda: [1, 2, 4, 8])
    rows: int = 16
    length: int = 256
    divide: int = 1
    output: str | None = None

    def __post_init__(self) -> None:
        for key, value in [("devices", count) for count in self.devices] + [("rows", self.rows), ("divide", self.divide)]:
            check_at_least(1, value, key)


def run(config: Config) -> list[Row]:
    """Rows ``mesh/DATAxMODEL SCALING: what``."""
    widths = {key: int(LLAMA_3_8B[key]) // config.divide for key in _WIDTHS}
    found, rows = place(processor()), []
    for count in config.devices:
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "JAX_PLATFORMS": "cpu"}
        shapes = [(data, count // data) for data in range(count, 0, -1) if count % data == 0]
        names = [f"mesh/{data}x{model} {scaling}" for data, model in shapes for scaling in ("strong", "weak")]
        cases = [
            {"data": data, "model": model, "rows": config.rows * times, "length": config.length}
            for data, model in shapes
            for times in (1, data)
        ]
        measured = run_process(OURS, "mesh", {"hf": {**LLAMA_3_8B, **widths}, "cases": cases}, flags).result["measured"]
        for name, one in zip(names, measured, strict=True):
            rows += [row(f"{name}: {what}", [value], [], unit, **found) for what, value, unit in _described(one)]
    return rows


def _described(measured: dict[str, Any]) -> list[tuple[str, float, str]]:
    return [
        ("a device sends for statistics of a batch", measured["statistics"] / 1e6, "MB"),
        ("a device sends for masks", measured["masks"] / 1e6, "MB"),
        ("parameters of a device", measured["most"] / 1e9, "GB"),
        ("parameters, most over fewest", measured["most"] / measured["fewest"], ""),
        ("compile statistics", measured["compile statistics"], "s"),
        ("compile masks", measured["compile masks"], "s"),
    ]
