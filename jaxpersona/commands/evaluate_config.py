"""Configuration of the command ``evaluate``."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import EvaluateData, MeshOptions, TextOptions
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least, check_positive, check_seed

_MOST_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Measures how masks change preferences, and the damage they do.

    Args:
      run (DIR): folder of a discover run; required unless --masks is given
      model (NAME): model to put the masks on, where it lies elsewhere than when they were found; default: as recorded
      masks ([DIR,...]): folders of one or two mask bundles, instead of a run
      data: held-out pairs; a file has columns question, matching, not_matching
      prompts ([TEXT,TEXT]): system texts that ask for the persona and its opposite; default: those of a built-in set
      prompted: also evaluate with these prompts
      controls ({true,fast,false,[KIND,...]}): also evaluate masks random, magnitude, neutral (Wanda on neutral text), shuffled
        (labels; not in fast), and always choosing longer, shorter or A
      baselines ([NAME,...]): rag, sft, sft_lora, dpo, dpo_lora, weight_steering, steering, to compare
        with; default: none
      baseline_damage ({masks,FRACTION}): perplexity increase that their changes are scaled to (0.015: 1.5 %; masks: what the
        persona's mask costs, at least 0.1 %); default: unscaled
      rag_k (PAIRS): number of calibration pairs that rag puts before a question
      letters: also ask for a letter, in both orders of the options
      open_ended (QUESTIONS): number of questions answered in the model's own words, and judged
      open_samples (SAMPLES): answers to each of them that the base model and the masks also give at temperature 0.7,
        for the panel
      panel: also judge them by trait, relevance and fluency, and compare the masks by one number
      judge_data (SPEC): pairs of the same persona that their judges learn from; default: the calibration pairs
      max_new_tokens (TOKENS): largest length of an open answer
      perplexity: neutral text that measures the damage of a mask
      protocol: scoring of answers; official: masks only with persona prompts; a tie counts as one fixed option
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (batches as in discover)
      seed: seed of drawn pairs, random controls, bootstrap and baselines
      mesh: data x model must equal the number of devices
      output_dir (DIR): folder for evaluation.json, evaluation.csv, answers.jsonl, answers.md; default: that of the run
    """

    run: str | None = None
    model: str | None = None
    masks: list[str] | str | None = None
    data: EvaluateData = dataclasses.field(default_factory=EvaluateData)
    prompts: tuple[str, str] | None = None
    prompted: bool = True
    controls: bool | Literal["fast"] | list[str] = False
    baselines: list[str] | str | None = None
    baseline_damage: float | Literal["masks"] | None = None
    rag_k: int = 3
    letters: bool = True
    open_ended: int = 0
    open_samples: int = 0
    panel: bool = True
    judge_data: str | None = None
    max_new_tokens: int = 64
    perplexity: TextOptions = dataclasses.field(default_factory=TextOptions)
    protocol: Literal["strict", "paper", "official"] = "strict"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    output_dir: str | None = None
    shown_first: ClassVar[tuple[str, ...]] = ("run", "masks", "data.source", "controls", "baselines")
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": ("model", "dtype"),
        "questions": ("prompts", "prompted", "rag_k", "letters", "protocol"),
        "open answers": ("open_ended", "open_samples", "panel", "judge_data", "max_new_tokens"),
    }

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.rag_k, "rag_k")
        if isinstance(self.baseline_damage, int | float):
            check_positive(self.baseline_damage, "baseline_damage", ", e.g. 0.015 for 1.5 %")
        check_at_least(0, self.open_ended, "open_ended")
        self._check_samples()
        check_at_least(1, self.max_new_tokens, "max_new_tokens")
        if self.judge_data is not None and not self.open_ended:
            raise InputError("judge_data is given, but open_ended is 0; give a number of questions or leave out judge_data")
        if (self.run is None) == (not self.masks):
            raise InputError("give either --run DIR or --masks DIR")
        if self.run is None and self.output_dir is None:
            raise InputError("masks by themselves have no run folder to write into; give --output_dir")
        if self.prompts is not None and not self.prompted:
            raise InputError("prompts are given, but prompted is false; leave out one of the two")
        if self.prompts is not None and not all(prompt.strip() for prompt in self.prompts):
            raise InputError("prompts: one is empty, and would be no prompt; give two texts, or --prompted false")

    def _check_samples(self) -> None:
        check_at_least(0, self.open_samples, "open_samples")
        if self.open_samples > _MOST_SAMPLES:
            raise InputError(f"open_samples is {self.open_samples}; give at most {_MOST_SAMPLES}")
        if self.open_samples and not (self.open_ended and self.panel):
            missing = "panel is false" if self.open_ended else "open_ended is 0"
            raise InputError(f"open_samples is {self.open_samples}, but {missing}; the panel judges samples of open answers")
