"""Configuration of the command ``chat``."""

import dataclasses
from typing import Literal

from jaxpersona.commands.shared_config import MeshOptions, check_at_least, check_seed
from jaxpersona.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class ChatConfig:
    """Talks with the personas of a run; personas and gamma can be switched at any time, and two compared.

    Args:
      run: folder of a discover run
      persona: whom to talk to first, as in generate
      gamma: share of its strength a removed weight keeps, in [0, 1)
      max_new_tokens: at most this many tokens an answer
      max_length: most tokens of a conversation; beyond that its oldest turns are forgotten
      temperature: 0 takes the likeliest token
      top_k: draw only from the k likeliest tokens; 0 means all
      top_p: draw only from the likeliest tokens that together reach this probability
      min_p: draw only from tokens at least this many times as probable as the likeliest
      repetition_penalty: makes tokens of the text so far less likely; 1 changes nothing
      system: system text before the conversation
      dtype: of parameters and computation
      seed: of sampling
      mesh: how devices share the work
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
    system: str = ""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.max_new_tokens, "max_new_tokens")
        if self.max_length <= self.max_new_tokens:
            raise InputError(f"max_length is {self.max_length}; it must be above max_new_tokens ({self.max_new_tokens})")
