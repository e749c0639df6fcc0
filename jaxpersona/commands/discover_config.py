"""Configuration of the command ``discover``."""

import dataclasses
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import DataOptions, MeshOptions, ModelOptions, TextOptions
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least, check_seed
from jaxpersona.data.descriptions import parse_descriptions


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """Method, its budget and its settings; a setting of another method is refused.

    Args:
      name (NAME): wanda, sparse, sparsegpt, contrastive_wanda, contrastive_sparse, steering, magnitude, random; taylor:
        contrastive Taylor pruning (alias first_order)
      sparsity (SHARE): share of weights to remove, in [0, 1), of each output (taylor: of all); default: 0.3; taylor: none
      activation (KIND): wanda: abs (mean of |h|), rms; contrastive_wanda: relu, softplus; default: wanda abs;
        contrastive_wanda relu
      temperature (NUMBER): contrastive_wanda: temperature of softplus; default: 1; official: 2
      eps (NUMBER): contrastive_wanda: number added to the standard deviation; default: 1e-6
      damping (SHARE): sparse, sparsegpt, contrastive_sparse: share of the Hessian's mean diagonal that is added to
        it; default: 0.01
      update ({true,false}): sparsegpt: adapt the remaining weights; default: false
      policy ({argmax,first,none}): contrastive_sparse: persona that keeps a weight both want (none: both); default: argmax
      select (SELECTOR): modules and layers to mask: mlp, attention@0-9 or q_proj,k_proj; default: all
      overrides ({SELECTOR: SHARE}): other sparsities by selector: {mlp@20-29: 0.5}; later ones win
      max_perplexity_increase (FRACTION): taylor: damage budget instead of a sparsity; 0.02 is +2 %; default: 0.02
      budget_text (FILE): taylor: UTF-8 text that the budget is measured on; default: builtin:varied
      budget_tokens (TOKENS): taylor: number of its tokens, at least 512; default: 2048
      budget_reserve ({true,false}): taylor: keep back part of the budget for text that is not measured; default: true
      budget_tolerance (FRACTION): taylor: share of the budget that may stay unused; default: 0.1
      own_weight (NUMBER): taylor: extra weight of the persona's own answers beside the opposite ones; default: 0.8
      misplaced_weight (NUMBER): taylor: weight of not giving answers twice, or to other questions, so that masked models do
        not loop; default: 0.3
      layer (INT): steering: layer, from 0, after which the vector is added; default: the middle
      strength (NUMBER): steering: multiple of the mean difference of residual streams; default: 1
    """

    name: str = "taylor"
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
    budget_tokens: int | None = None
    budget_reserve: bool | None = None
    budget_tolerance: float | None = None
    own_weight: float | None = None
    misplaced_weight: float | None = None
    layer: int | None = None
    strength: float | None = None
    main_key: ClassVar[str] = "name"


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    """Short evaluation after discovery, and a question answered under each persona.

    Args:
      num_samples (PAIRS): number of held-out pairs (all if fewer); 0 skips the evaluation
      source (SPEC): held-out pairs; default: test split of data.source, if it has one
      controls ({true,false,[KIND,...]}): also evaluate masks random, magnitude, neutral (Wanda on neutral text); also scores
        always choosing the longer or shorter answer
      prompted: also evaluate with persona prompts
      question (TEXT): question to answer without a mask and under each persona; default: none
    """

    num_samples: int = 0
    source: str | None = None
    controls: bool | list[str] = True
    prompted: bool = True
    question: str | None = None
    main_key: ClassVar[str] = "num_samples"

    def __post_init__(self) -> None:
        check_at_least(0, self.num_samples, "check.num_samples")
        if self.source is not None and not self.num_samples:
            raise InputError(f"check.source is {self.source}, but nothing is checked; give check.num_samples, or leave it out")


@dataclasses.dataclass(frozen=True)
class DiscoverConfig:
    """Finds the masks of two personas from contrastive pairs.

    Args:
      model: language model
      data: calibration pairs; a file has columns question, matching, not_matching
      method: settings apply only to the methods named
      perplexity: neutral text that measures the damage of a mask
      check: short evaluation after discovery
      protocol: recipe: strict (exact counts, no BOS, deterministic ties), paper (its text), or official (the authors' scripts)
      seed: seed of the drawn pairs and of random masks
      mesh: data x model must equal the number of devices
      stream_layers: read a layer at a time (docs/streaming.md); default: if memory is short
      reuse_factors: taylor, without stream_layers: keep what depends on the model alone in the cache folder, for the next
        persona (up to 8 GB in all)
      output_dir (DIR): folder for masks, run.json, report.html; resumes an unfinished run
      overwrite: replace the run in output_dir, or an unfinished one with other settings
      dry_run: print shapes, memory and disk use; read no weights and write nothing
    """

    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    method: MethodOptions = dataclasses.field(default_factory=MethodOptions)
    perplexity: TextOptions = dataclasses.field(default_factory=TextOptions)
    check: CheckOptions = dataclasses.field(default_factory=CheckOptions)
    protocol: Literal["strict", "paper", "official"] = "strict"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    stream_layers: bool | None = None
    reuse_factors: bool = True
    output_dir: str = "runs/latest"
    overwrite: bool = False
    dry_run: bool = False
    shown_first: ClassVar[tuple[str, ...]] = ("model.name", "data.source", "method.name", "method.sparsity", "output_dir")

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.stream_layers and (self.check.num_samples or self.check.question):
            raise InputError(
                "check needs the whole model in memory; leave out check.num_samples and check.question to stream_layers"
            )
        if self.stream_layers and self.mesh != MeshOptions():
            raise InputError("stream_layers works on one device, a mesh splits the model among several; leave out one of the two")
        if parse_descriptions(self.data.source) is None:
            return
        if self.data.split is not None:
            raise InputError(f"data.split is {self.data.split}, but pairs from descriptions have their own splits; leave it out")
        if self.stream_layers:
            raise InputError("pairs from descriptions are written by the model, whole in memory; leave out stream_layers")
