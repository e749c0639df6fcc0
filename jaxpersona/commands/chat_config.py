"""Configuration of the command ``chat``."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import MeshOptions
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least, check_seed


@dataclasses.dataclass(frozen=True)
class ChatConfig:
    """Chats under the personas of a run; /help lists chat commands.

    Args:
      run (DIR): folder of a discover run
      persona (NAME): first persona: one of the run, none (base model), or 0.7*seek+0.3*reject
      gamma (FRACTION): fraction that removed weights keep of their value, in [0, 1); 0 removes them fully
      max_new_tokens (TOKENS): largest length of an answer
      max_length (TOKENS): largest length of a conversation; older turns are dropped
      temperature (NUMBER): 0 takes the likeliest token; higher values vary more
      top_k (TOKENS): number of likeliest tokens to draw from; 0 is all of them
      top_p (PROBABILITY): total probability of the likeliest tokens to draw from, in (0, 1]
      min_p (SHARE): least probability, as a share of the likeliest token's, in [0, 1]
      repetition_penalty (NUMBER): penalty on tokens that the text already has; 1 is none
      system (TEXT): system text before the conversation; default: none
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (batches as in discover)
      seed: seed of sampling
      mesh: data x model must equal the number of devices
    """

    run: str
    persona: str = "none"
    gamma: float = 0.0
    max_new_tokens: int = 128
    max_length: int = 1024
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    system: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    shown_first: ClassVar[tuple[str, ...]] = ("run", "persona", "gamma", "max_new_tokens", "temperature")
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sampling": ("top_k", "top_p", "min_p", "repetition_penalty", "seed"),
    }

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.max_new_tokens, "max_new_tokens")
        if not 0 <= self.gamma < 1:
            raise InputError(f"gamma is {self.gamma}; it must lie in [0, 1)")
        if self.max_length <= self.max_new_tokens:
            raise InputError(f"max_length is {self.max_length}; it must be above max_new_tokens ({self.max_new_tokens})")
