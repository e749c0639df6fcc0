"""Configuration of the command ``export``."""

import dataclasses
from typing import Literal

from jaxpersona.commands.shared_config import check_at_least
from jaxpersona.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes a model whose weights are masked, for Transformers and everything that reads its folders.

    Args:
      run: folder of a discover run
      persona: name of one of its personas; none writes the model as it is
      output_dir: the folder to write, which must be new or empty
      format: hf, a Hugging Face folder of safetensors
      gamma: share of its strength a removed weight keeps, in [0, 1)
      shard_mb: megabytes a file of weights; larger models have several
    """

    run: str
    persona: str
    output_dir: str
    format: Literal["hf"] = "hf"
    gamma: float = 0.0
    shard_mb: int = 5000

    def __post_init__(self) -> None:
        check_at_least(1, self.shard_mb, "shard_mb")
        if not 0 <= self.gamma < 1:
            raise InputError(f"gamma is {self.gamma}; it must lie in [0, 1)")
