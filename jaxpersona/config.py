"""The commands' configurations: frozen dataclasses whose fields are the YAML keys and the command-line options."""

import dataclasses
from typing import Any, Literal

from jaxpersona.errors import InputError

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
    """

    source: str = "builtin:wealth"
    split: str | None = None
    num_samples: int = 128
    max_length: int = 512
    text: Literal["chat", "prompt_response", "response", "raw"] = "chat"
    personas: tuple[str, str] = ("seek", "reject")

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
class MethodOptions:
    """How weights are scored, and how many are kept.

    Args:
      name: wanda, sparse, sparsegpt, contrastive_wanda, contrastive_sparse, first_order, steering (adds a vector, masks
        nothing), or the controls magnitude and random
      sparsity: share of every output's weights that is removed (first_order: of all weights together), in [0, 1)
      activation: of wanda, abs (mean of |h|, the default) or rms; of contrastive_wanda, relu (the default) or softplus
      temperature: of softplus in contrastive_wanda; default 1 (protocol official: 2)
      eps: beside the standard deviation in contrastive_wanda; default 1e-6
      damping: of sparse, sparsegpt and contrastive_sparse, lambda as a share of the mean of the Hessian's diagonal; default 0.01
      update: of sparsegpt, whether remaining weights change to make up for those removed; default false
      policy: who keeps a weight both personas want in contrastive_sparse, argmax (the default), first or none (both)
      select: modules and layers to mask, e.g. mlp, attention@0-9, q_proj,k_proj; the rest is left whole
      overrides: sparsity by selector where it differs, e.g. {mlp@20-29: 0.5}; later ones win
      max_perplexity_increase: damage budget of first_order instead of a sparsity, e.g. 0.02 for at most 2 %
      budget_text: what the damage budget is measured on, builtin:neutral (the default) or a UTF-8 text file
      layer: of steering, after which layer (from 0) the vector is added; default the middle of the model
      strength: of steering, multiple of the mean difference between the two personas' residual streams
    """

    name: str = "wanda"
    sparsity: float | None = None
    activation: str | None = None
    temperature: float | None = None
    eps: float | None = None
    damping: float | None = None
    update: bool | None = None
    policy: str | None = None
    select: str | None = None
    overrides: dict[str, float] | None = None
    max_perplexity_increase: float | None = None
    budget_text: str | None = None
    layer: int | None = None
    strength: float | None = None


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
class CheckOptions:
    """What follows discovery: a short evaluation, and a question answered under each persona.

    Args:
      num_samples: at most this many held-out pairs are evaluated; 0 skips the evaluation
      source: the held-out pairs; null is the test split of the built-in set the masks were found on
      controls: also random, magnitude and neutral-text masks of the same budget, and choosing by length
      question: what is answered without a mask and under each; empty skips it
    """

    num_samples: int = 0
    source: str | None = None
    controls: bool = True
    question: str = ""

    def __post_init__(self) -> None:
        check_at_least(0, self.num_samples, "check.num_samples")


@dataclasses.dataclass(frozen=True)
class DiscoverConfig:
    """Finds the masks of the two personas of a set of contrastive pairs.

    Args:
      model: which language model
      data: which persona pairs
      method: how weights are scored
      perplexity: what the damage of a mask is measured on
      check: a short evaluation after discovery
      protocol: experimental choices; strict (statistics over tokens without BOS, exact K, deterministic ties), paper (as its text
        says) or official (as the authors' scripts do)
      seed: of sampling pairs and of methods that draw
      mesh: how devices share the work
      stream_layers: read the weights a layer at a time, for a model that does not fit into memory (docs/streaming.md)
      output_dir: folder for the masks and run.json; a run that was killed or interrupted there goes on
      overwrite: replace the run that output_dir already holds, and start anew where an unfinished one was asked otherwise
      dry_run: print the plan (shapes, shards, memory, disk, least time) without reading weights, and write nothing
    """

    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    method: MethodOptions = dataclasses.field(default_factory=MethodOptions)
    perplexity: TextOptions = dataclasses.field(default_factory=TextOptions)
    check: CheckOptions = dataclasses.field(default_factory=CheckOptions)
    protocol: Literal["strict", "paper", "official"] = "strict"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    stream_layers: bool = False
    output_dir: str = "runs/latest"
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.stream_layers and (self.check.num_samples or self.check.question):
            raise InputError(
                "check needs the whole model in memory; leave out check.num_samples and check.question to stream_layers"
            )
        if self.stream_layers and self.mesh != MeshOptions():
            raise InputError("stream_layers works on one device, a mesh splits the model among several; leave out one of the two")


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


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Measures which answers a model prefers under each mask, with intervals, paired tests and the damage done.

    Args:
      run: folder of a discover run
      model: with masks, the model they are for; null is the one they name
      masks: instead of a run, one mask bundle or two, e.g. [runs/a/masks/seek,runs/a/masks/reject]
      data: which held-out pairs
      prompts: two system texts, asking for the persona and for its opposite; null is a built-in set's own, or none
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


@dataclasses.dataclass(frozen=True)
class PerplexityConfig:
    """Measures a model's perplexity, the check that it was loaded right.

    Args:
      model: which language model
      text: builtin:neutral, or a UTF-8 text file such as the WikiText-2 test split
      max_tokens: how much of it is read
      window: tokens a window; each token is predicted from those before it in its window
      mesh: how devices share the work
    """

    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    text: str = "builtin:neutral"
    max_tokens: int = 4096
    window: int = 512
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)

    def __post_init__(self) -> None:
        check_at_least(2, self.max_tokens, "max_tokens")
        check_at_least(2, self.window, "window")


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
