"""The commands' configurations: frozen dataclasses whose fields are the YAML keys and the command-line options."""

import dataclasses
from typing import Literal

from jaxpersona.core.errors import InputError

_RESERVED = {"none", "magnitude", "neutral", "longer", "shorter"}  # what evaluations call their controls


def check_at_least(least: int, value: int, key: str) -> None:
    """Refuses a value of ``key`` under ``least``."""
    if value < least:
        raise InputError(f"{key} is {value}; give at least {least}")


def check_seed(seed: int) -> None:
    """Refuses a seed that is no 32-bit number."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; it must lie in 0 to 2**32 - 1")


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which language model.

    Args:
      name: smollm2-135m-instruct, a Hugging Face folder, a .gguf file, or a hub repository OWNER/NAME
      dtype: of parameters and computation; auto is bfloat16 on GPU and TPU, and on a CPU float32 for parameters and generation,
        bfloat16 for statistics and answer scores if the CPU multiplies it itself (AVX-512 BF16, AMX)
    """

    name: str = "smollm2-135m-instruct"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """How the devices of all hosts share the work (docs/distributed.md); data times model must be their number.

    Args:
      data: over how many devices the rows of a batch are split; null is all that model leaves
      model: over how many devices the parameters are split; null is 1, each device holding the whole model
    """

    data: int | None = None
    model: int | None = None

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if value is not None:
                check_at_least(1, value, f"mesh.{key}")


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Which persona pairs, and as what text the model reads them.

    Args:
      source: builtin:NAME, or a .csv or .jsonl file with question, matching, not_matching (or question, A, B, matching), or
        lines:SEEK.txt,REJECT.txt with one calibration text a line
      split: train, validation or test, for data with a column split; null is train for built-in sets and all rows of a file
      num_samples: number of calibration pairs, drawn with the seed
      max_length: longer texts are cut at this many tokens
      text: chat (the model's template), prompt_response, response (answers alone) or raw (joined as is, no special tokens)
      personas: names of the persona of the matching answers and of its opposite
      generated_texts: number of texts the model generates as neutral calibration data, for method taylor
      generated_length: tokens of each
    """

    source: str = "builtin:wealth"
    split: str | None = None
    num_samples: int = 128
    max_length: int = 512
    text: Literal["chat", "prompt_response", "response", "raw"] = "chat"
    personas: tuple[str, str] = ("seek", "reject")
    generated_texts: int = 48
    generated_length: int = 128

    def __post_init__(self) -> None:
        check_at_least(1, self.num_samples, "data.num_samples")
        check_at_least(2, self.max_length, "data.max_length")
        for name in self.personas:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise InputError(f"data.personas: {name!r} cannot name a folder; use letters, digits, - and _")
        if self.personas[0] == self.personas[1] or _RESERVED & set(self.personas):
            raise InputError(
                f"data.personas {list(self.personas)}: give two different names other than {', '.join(sorted(_RESERVED))}"
            )


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """Neutral text on which perplexity is measured before and after masking.

    Args:
      text: builtin:neutral, or a UTF-8 text file such as the WikiText-2 test split
      max_tokens: how much of it is read; 0 skips the measurement
    """

    text: str = "builtin:neutral"
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        check_at_least(0, self.max_tokens, "perplexity.max_tokens")


@dataclasses.dataclass(frozen=True)
class EvaluateData:
    """Which held-out pairs.

    Args:
      source: builtin:NAME or a .csv or .jsonl file; null is the built-in set the masks were found on
      split: train, validation or test; null is test for built-in sets and all rows of a file
      num_samples: at most this many pairs, drawn with the seed
      max_length: longer texts are cut at this many tokens
      text: chat, prompt_response, response or raw
    """

    source: str | None = None
    split: str | None = None
    num_samples: int = 200
    max_length: int = 512
    text: Literal["chat", "prompt_response", "response", "raw"] = "chat"

    def __post_init__(self) -> None:
        check_at_least(1, self.num_samples, "data.num_samples")
        check_at_least(2, self.max_length, "data.max_length")
