"""Configuration of the command ``discover``."""

import dataclasses
from typing import Literal

from jaxpersona.commands.shared_config import DataOptions, MeshOptions, ModelOptions, TextOptions, check_at_least, check_seed
from jaxpersona.core.errors import InputError


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
