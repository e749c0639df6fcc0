"""Configuration of the command ``sweep``."""

import dataclasses
from typing import Any, Literal

from jaxpersona.commands.shared_config import (
    DataOptions,
    EvaluateData,
    MeshOptions,
    ModelOptions,
    TextOptions,
    check_at_least,
    check_seed,
)
from jaxpersona.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class SweepData:
    """Which persona pairs, and as what text the model reads them.

    Args:
      source: builtin:NAME, or a .csv or .jsonl file with question, matching, not_matching (or question, A, B, matching)
      split: train, validation or test, for data with a column split; null is train for built-in sets and all rows of a file
      num_samples: numbers of calibration pairs, each drawn with every seed
      max_length: longer texts are cut at this many tokens
      text: chat, prompt_response, response or raw
      personas: names of the persona of the matching answers and of its opposite
    """

    source: str = "builtin:wealth"
    split: str | None = None
    num_samples: list[int] | int = 128
    max_length: int = 512
    text: Literal["chat", "prompt_response", "response", "raw"] = "chat"
    personas: tuple[str, str] = ("seek", "reject")

    def __post_init__(self) -> None:
        for size in [self.num_samples] if isinstance(self.num_samples, int) else self.num_samples:
            DataOptions(num_samples=size, max_length=self.max_length, personas=self.personas)  # its checks are ours
        if self.num_samples == []:
            raise InputError("data.num_samples is empty; give at least one number of calibration pairs")


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Compares methods over budgets, numbers of calibration pairs and seeds, as a table and as figures.

    Args:
      model: which language model
      data: which calibration pairs
      held_out: which pairs to evaluate on
      methods: names, or mappings of a name and settings as in discover; a setting that is a list is swept, e.g.
        {name: wanda, sparsity: [0.1, 0.3]}
      seeds: of the draw of calibration pairs, and of whatever else is random; the first also draws held-out pairs
      controls: also masks that know nothing of the persona, at every budget of all methods (true) or of those listed, for
        the first seed and the most calibration pairs; and choosing by length or letter
      baselines: other ways to a persona, with the most calibration pairs: prompt, rag, sft, sft_lora, dpo, dpo_lora, steering
      prompts: evaluate each mask behind the persona prompts as well
      prompt_texts: two system texts, asking for the persona and for its opposite; null is a built-in set's own
      letters: also ask for a letter, in both orders of the options
      rag_k: how many calibration samples rag puts before a question
      perplexity: what damage is measured on
      protocol: experimental choices, strict or paper (official evaluates no mask without a prompt: use discover)
      goal: separation and perplexity increase that the Pareto figure marks, e.g. [0.55, 0.02]
      mesh: how devices share the work
      output_dir: folder for sweep.json, sweep.csv and the figures; a sweep that was interrupted goes on there
      overwrite: start anew where output_dir already holds a sweep
    """

    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    data: SweepData = dataclasses.field(default_factory=SweepData)
    held_out: EvaluateData = dataclasses.field(default_factory=EvaluateData)
    methods: list[dict[str, Any] | str] | str = dataclasses.field(default_factory=lambda: ["wanda", "first_order"])
    seeds: list[int] | int = 42
    controls: bool | list[str] = False
    baselines: list[str] | str = dataclasses.field(default_factory=list)
    prompts: bool = False
    prompt_texts: tuple[str, str] | None = None
    letters: bool = False
    rag_k: int = 3
    perplexity: TextOptions = dataclasses.field(default_factory=TextOptions)
    protocol: Literal["strict", "paper"] = "strict"
    goal: tuple[float, float] | None = None
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    output_dir: str = "runs/sweep"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for seed in [self.seeds] if isinstance(self.seeds, int) else self.seeds:
            check_seed(seed)
        if self.seeds == [] or not self.methods:
            raise InputError("seeds and methods must not be empty; give at least one of each")
        check_at_least(1, self.rag_k, "rag_k")
