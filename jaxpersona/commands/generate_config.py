"""Configuration of the command ``generate``."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import MeshOptions
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least, check_seed


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Answers prompts under one or several personas of a run.

    Args:
      run (DIR): folder of a discover run
      persona (NAME): persona of the run, none (base model), 0.7*seek+0.3*reject, or [none,seek]
      prompt (TEXT): text to answer; required unless --prompts is given
      prompts (FILE): text file with one prompt per line, or .jsonl with key prompt
      gamma (FRACTION): fraction that removed weights keep of their value, in [0, 1); 0 removes them fully
      max_new_tokens (TOKENS): largest length of an answer
      temperature (NUMBER): 0 takes the likeliest token; higher values vary more
      top_k (TOKENS): number of likeliest tokens to draw from; 0 is all of them
      top_p (PROBABILITY): total probability of the likeliest tokens to draw from, in (0, 1]
      min_p (SHARE): least probability, as a share of the likeliest token's, in [0, 1]
      repetition_penalty (NUMBER): penalty on tokens that the text already has; 1 is none
      stop ([TEXT,...]): texts that end an answer; default: none
      chat ({true,false}): put prompts into the model's chat template; default: true if data.text of the run is chat
      system (TEXT): system text before the prompt; default: none
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (batches as in discover)
      seed: seed of sampling
      mesh: data x model must equal the number of devices
      batch (ANSWERS): number of answers generated at once
      output (FILE): JSONL file for all answers: prompt, persona, gamma, text, tokens, finish
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
    chat: bool | None = None
    system: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    batch: int = 8
    output: str | None = None
    shown_first: ClassVar[tuple[str, ...]] = ("run", "persona", "prompt", "prompts", "gamma")
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("max_new_tokens", "stop", "chat", "system"),
        "sampling": ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"),
    }

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.batch, "batch")
        if self.prompt and self.prompts is not None:
            raise InputError("give either --prompt TEXT or --prompts FILE, not both")
        if not self.prompt.strip() and self.prompts is None:
            raise InputError("the prompt is empty; give --prompt TEXT or --prompts FILE")
        if not self.persona:
            raise InputError("persona is an empty list; give at least one name")
