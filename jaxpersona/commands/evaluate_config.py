"""Configuration of the command ``evaluate``."""

import dataclasses
from typing import Literal

from jaxpersona.commands.shared_config import EvaluateData, MeshOptions, TextOptions, check_at_least, check_seed
from jaxpersona.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Measures which answers a model prefers under each mask, with intervals, paired tests and the damage done.

    Args:
      run: folder of a discover run
      model: with masks, the model they are for; null is the one they name
      masks: instead of a run, one mask bundle or two, e.g. [runs/a/masks/seek,runs/a/masks/reject]
      data: which held-out pairs
      prompts: two system texts, asking for the persona and for its opposite; null is a built-in set's own, or none
      prompted: also evaluate behind these prompts
      controls: also random, magnitude, neutral-text and shuffled-label masks of the same budget, and choosing by length or
        letter; fast leaves out shuffled labels, which take another discovery
      baselines: other ways to a persona from the same calibration pairs: rag, sft, sft_lora, dpo, dpo_lora, steering
      rag_k: how many calibration samples rag puts before a question
      letters: also ask for a letter, in both orders of the options
      open_ended: how many held-out questions to answer in the model's own words, for a classifier to judge; 0 is none
      max_new_tokens: at most this many tokens an open answer
      perplexity: what the damage of a mask is measured on
      protocol: how choices are scored; official is the authors' scripts (masks behind a persona prompt only, ties to an option)
      dtype: of parameters and computation
      seed: of sampling, random controls, the bootstrap and baselines
      mesh: how devices share the work
      output_dir: folder for evaluation.json, evaluation.csv and answers.jsonl; null is that of the run
    """

    run: str | None = None
    model: str | None = None
    masks: list[str] | str | None = None
    data: EvaluateData = dataclasses.field(default_factory=EvaluateData)
    prompts: tuple[str, str] | None = None
    prompted: bool = True
    controls: bool | Literal["fast"] = False
    baselines: list[str] | str = dataclasses.field(default_factory=list)
    rag_k: int = 3
    letters: bool = True
    open_ended: int = 0
    max_new_tokens: int = 64
    perplexity: TextOptions = dataclasses.field(default_factory=TextOptions)
    protocol: Literal["strict", "paper", "official"] = "strict"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    output_dir: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.rag_k, "rag_k")
        check_at_least(0, self.open_ended, "open_ended")
        check_at_least(1, self.max_new_tokens, "max_new_tokens")
        if (self.run is None) == (not self.masks):
            raise InputError("give what to evaluate, either --run DIR or --masks BUNDLE")
        if self.run is None and self.output_dir is None:
            raise InputError("masks by themselves have no run folder to write into; give --output_dir")
        if self.run is not None and self.model is not None:
            raise InputError("a run says which model it is for; leave out --model")
