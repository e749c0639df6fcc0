"""A loaded language model: configuration, parameters, tokenizer and decoder."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.memory import return_freed_memory
from jaxpersona.core.mesh import make_mesh, mesh_of, to_host
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.template_settings import TemplateSettings
from jaxpersona.core.tree import Params
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.cpu import untied_head
from jaxpersona.models.cpu.bfloat16_bits import compact
from jaxpersona.models.cpu.unstacked import unstack
from jaxpersona.models.decoder import Collect, Decoder
from jaxpersona.models.model_files import ModelFiles, open_files
from jaxpersona.models.precision import Dtype, pick_dtypes
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import load_params


@dataclasses.dataclass(frozen=True)
class ModelIdentity:
    """What a persona has to know of the model that it is for.

    Attributes:
      name: under which it was loaded.
      fingerprint: of its weights.
      mesh: of its parameters; None on a single device.
    """

    name: str
    fingerprint: str
    mesh: Mesh | None


@dataclasses.dataclass(frozen=True)
class Model:
    """A language model whose parameters never change; a persona is a mask over them.

    Attributes:
      name: under which it was loaded.
      origin: description of where its files came from.
      config: shape and variant.
      params: parameter pytree; kernels are [layer, in, out].
      tokenizer: a Transformers tokenizer.
      eos_ids: token ids that end a generation.
      batch_dtype: dtype of matrix products in forward passes over batches of texts; None is that of the parameters.
      quick_forms: whether text is generated from copies of the parameters in a form that is fast on a CPU: compact for one text
        (``cpu/bfloat16_bits.py``), unstacked and in ``batch_dtype`` for several (``cpu/unstacked.py``).
    """

    name: str
    origin: str
    config: ModelConfig
    params: Params
    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]
    batch_dtype: Any = None
    quick_forms: bool = False

    @property
    def mesh(self) -> Mesh | None:
        """The mesh of the parameters; None on a single device."""
        return mesh_of(self.params)

    @property
    def decoder(self) -> Decoder:
        """The Linen module; hashable, so it can be closed over or passed as a static argument."""
        return Decoder(self.config)

    def batch_decoder(self, collect: Collect | None = None) -> Decoder:
        """Returns the decoder for batches of texts, with products in ``batch_dtype``; ``collect`` as for ``Decoder``."""
        return Decoder(self.config, collect, products=self.batch_dtype)

    def with_head(self, params: Mapping[str, Any], collect: Collect | None = None) -> tuple[Params, Decoder]:
        """Returns parameters and a ``batch_decoder`` for logits of many tokens.

        On a CPU, a tied head is copied into a kernel of its own (``cpu/untied_head.py``).

        Args:
          params: the model's own or masked ones.
          collect: as for ``Decoder``.
        """
        decoder = self.batch_decoder(collect)
        return (
            (untied_head.with_head(params, self.batch_dtype), untied_head.untied(decoder))
            if self.quick_forms
            else (dict(params), decoder)
        )

    @functools.cached_property
    def base_losses(self) -> dict[str, np.ndarray]:
        """Losses of the base model measured so far (``perplexity.py``), by SHA-256 of the tokens."""
        return {}

    @functools.cached_property
    def compact_params(self) -> Params:
        """A compact copy of the parameters (``cpu/bfloat16_bits.py``)."""
        return compact(self.params)

    @functools.cached_property
    def unstacked_params(self) -> Params:
        """An unstacked copy of the parameters, in ``batch_dtype`` (``cpu/unstacked.py``)."""
        return unstack(self.params, self.batch_dtype)

    def apply(self, variables: dict[str, Any], tokens: jax.Array, **inputs: Any) -> Any:
        """Runs ``decoder.apply``: returns logits [B, T, vocab] for ``{"params": model.params}`` and tokens int [B, T]."""
        return self.decoder.apply(variables, tokens, **inputs)

    @property
    def identity(self) -> ModelIdentity:
        """The model's name, fingerprint and mesh, for personas that are loaded once its parameters are gone."""
        return ModelIdentity(self.name, self.fingerprint, self.mesh)

    @property
    def fingerprint(self) -> str:
        """Hash over a sample of every maskable kernel; identifies the weights, whatever dtype they were loaded in."""
        return fingerprint(self.params)


def fingerprint(params: Params) -> str:
    """Returns the SHA-256 over path, shape and a sample (``sample_kernel``) of every maskable kernel."""
    flat = kernels(params)
    return digest_of({path: kernel.shape for path, kernel in flat.items()}, {path: sample_kernel(flat[path]) for path in flat})


def sample_kernel(kernel: Any) -> np.ndarray:
    """Returns a sample of a kernel [layer, in, out], as bfloat16: every (in // 16)-th input of every (out // 16)-th output."""
    rows, columns = max(1, kernel.shape[1] // 16), max(1, kernel.shape[2] // 16)
    return to_host(kernel[:, ::rows, ::columns].astype(jnp.bfloat16))


def digest_of(shapes: Mapping[str, tuple[int, ...]], samples: Mapping[str, np.ndarray]) -> str:
    """Returns the fingerprint of kernels from their shapes and samples, by path."""
    digest = hashlib.sha256()
    for path, shape in sorted(shapes.items()):
        digest.update(f"{path} {shape}".encode() + samples[path].tobytes())
    return digest.hexdigest()


def load_model(
    name: str,
    dtype: Dtype = "auto",
    *,
    mesh: Mesh | None = None,
    files: ModelFiles | None = None,
    stage: Stage = QUIET,
    template: TemplateSettings | None = None,
) -> Model:
    """Loads a model of the Llama family.

    Args:
      name: ``smollm2-135m-instruct``, a Hugging Face folder, a ``.gguf`` file, or a hub repository ``owner/name``.
      dtype: of the parameters and the computation; ``auto`` as in ``precision.pick_dtypes``.
      mesh: from ``make_mesh``; None replicates the model on all devices. Each device receives only its shards of the parameters.
      files: from ``open_files(name)``, if already opened.
      stage: progress counts parameter arrays.
      template: settings of the chat template, unless ``files`` are given; None selects the default ones.

    Raises:
      InputError: if the model cannot be found, is of another architecture, or its files are damaged.
    """
    files, mesh = files or open_files(name, template), mesh or make_mesh()
    param_dtype, batch_dtype = pick_dtypes(dtype)
    quick_forms = dtype == "auto" and jax.default_backend() == "cpu" and mesh.size == 1
    params = load_params(files.source, files.config, param_dtype, stage, mesh if mesh.size > 1 else None)
    return_freed_memory()  # reading Gemma's vocabulary leaves 0.2 GB
    return Model(name, files.origin, files.config, params, files.tokenizer, files.eos_ids, batch_dtype, quick_forms)
