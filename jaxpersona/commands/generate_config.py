"""Configuration of the command ``generate``."""

import dataclasses
from typing import Literal

from jaxpersona.commands.shared_config import MeshOptions, check_at_least, check_seed
from jaxpersona.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Answers prompts under one persona of a run, or under several side by side.

    Args:
      run: folder of a discover run
      persona: name of one of its personas, none for the model as it is, a mixture such as 0.7*seek+0.3*reject, or a list of these
      prompt: what to answer
      prompts: instead of prompt, a file of prompts, .jsonl with the key prompt or else one a line
      gamma: share of its strength a removed weight keeps, in [0, 1)
      max_new_tokens: at most this many tokens an answer
      temperature: 0 takes the likeliest token
      top_k: draw only from the k likeliest tokens; 0 means all
      top_p: draw only from the likeliest tokens that together reach this probability
      min_p: draw only from tokens at least this many times as probable as the likeliest
      repetition_penalty: makes tokens of the text so far less likely; 1 changes nothing
      stop: strings before the first of which an answer ends
      chat: put prompts into the model's chat template
      system: system text before the prompt
      dtype: of parameters and computation
      seed: of sampling
      mesh: how devices share the work
      batch: how many answers are worked on at once
      output: file for all answers, JSONL with prompt, persona, gamma, text, tokens and finish (eos, stop or length)
    """

    run: str
    prompt: str = ""
    persona: list[str] | str = "none"
    prompts: str | None = None
    gamma: float = 0.0
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: list[str] = dataclasses.field(default_factory=list)
    chat: bool = True
    system: str = ""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    batch: int = 8
    output: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.batch, "batch")
        if self.prompt and self.prompts is not None:
            raise InputError("give what to answer once, by --prompt TEXT or --prompts FILE")
        if not self.persona:
            raise InputError("persona is an empty list; give at least one name")
