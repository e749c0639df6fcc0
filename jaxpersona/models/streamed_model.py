"""A language model whose weights stay in their files: a layer at a time comes into memory, the next one is read meanwhile."""

import concurrent.futures
import ctypes
import dataclasses
import functools
import pathlib
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxpersona.core.tree import Params, flatten, unflatten
from jaxpersona.models.decoder import parameter_shapes
from jaxpersona.models.model import Model, digest_of, sample
from jaxpersona.models.model_files import ModelFiles, open_files
from jaxpersona.models.precision import Dtype, pick_dtypes
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import TensorSource, read_part

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamedModel(Model):
    """A model without its weights; ``params`` has ``jax.ShapeDtypeStruct`` leaves.

    Attributes:
      source: the weight files.
      scratch: folder for temporary files of what does not fit into memory; None is the system's.
    """

    source: TensorSource
    scratch: pathlib.Path | None = None

    @property
    def dtype(self) -> Any:
        """In which parameters are held once they are read."""
        return self.params["embed_tokens"]["embedding"].dtype

    def part(self, *modules: str) -> Params:
        """The parameters outside the layers that belong to ``modules``, for example ``embed_tokens``; absent ones are left out.

        Raises:
          InputError: when a tensor is missing, has another shape than the configuration says, or holds NaN or infinity.
        """
        shapes = {path: leaf.shape for path, leaf in flatten(self.params).items() if path.split("/")[0] in modules}
        return read_part(self.source, shapes, self.dtype)

    def head(self) -> Params:
        """The final norm, and the head or the embedding that serves as one."""
        return self.part("norm", "embed_tokens" if self.config.tied_embeddings else "lm_head")

    def layers(self, backwards: bool = False, done: int = 0) -> Iterator[tuple[int, Params]]:
        """Numbers and parameters of all layers, kernels [1, in, out]. While one is in use the next is read: two are in memory.

        Args:
          backwards: the last first.
          done: how many are left out, from the start.

        Raises:
          InputError: as ``part``.
        """
        numbers = range(self.config.num_layers)[:: -1 if backwards else 1][done:]
        if not numbers:
            return
        with concurrent.futures.ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._layer, numbers[0])
            for place, number in enumerate(numbers):
                params = coming.result()
                if place + 1 < len(numbers):
                    coming = reader.submit(self._layer, numbers[place + 1])
                yield number, params
                del params  # or it would stay while the one after next is read

    def _layer(self, number: int) -> Params:
        shapes = {path: leaf.shape for path, leaf in flatten(self.params).items() if path.startswith("layers/")}
        return read_part(self.source, shapes, self.dtype, number, functools.partial(self._see, number))

    def _see(self, number: int, path: str, leaf: np.ndarray) -> None:
        if path in self.samples:
            self.samples[path][number] = sample(leaf)

    @functools.cached_property
    def samples(self) -> dict[str, dict[int, np.ndarray]]:
        """What the fingerprint is made of, by kernel path and layer; every layer that is read leaves its own."""
        return {path: {} for path in kernels(self.params)}

    def remember(self, samples: Mapping[str, Mapping[int, np.ndarray]]) -> None:
        """Takes the ``samples`` that an earlier process had of the same weights."""
        for path, seen in samples.items():
            self.samples[path].update(seen)

    @functools.cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        """As that of the model in memory. Takes a pass over the weights, unless they have been read before."""
        if any(len(seen) < self.config.num_layers for seen in self.samples.values()):
            for _ in self.layers():
                pass
        samples = {path: np.concatenate([seen[n] for n in sorted(seen)]) for path, seen in self.samples.items()}
        return digest_of({path: kernel.shape for path, kernel in kernels(self.params).items()}, samples)


def load_streamed(
    name: str, dtype: Dtype = "auto", scratch: pathlib.Path | None = None, files: ModelFiles | None = None
) -> StreamedModel:
    """Opens a model of the Llama family whose weights are to be read a layer at a time.

    Args:
      name: as for ``load_model``.
      dtype: likewise.
      scratch: folder for temporary files.
      files: from ``open_files(name)``, if they were opened before.

    Raises:
      InputError: when the model cannot be found, is of another architecture, or its files are damaged.
    """
    _give_memory_back()
    files = files or open_files(name)
    number, batch_dtype = pick_dtypes(dtype)
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, number) for path, leaf in flatten(parameter_shapes(files.config)).items()}
    outside = files.origin, files.config, unflatten(shapes), files.tokenizer, files.eos_ids, batch_dtype
    return StreamedModel(name, *outside, source=files.source, scratch=scratch)


def _give_memory_back() -> None:
    """Has glibc return the memory of large arrays to the system when they are freed.

    By itself it keeps blocks of up to 32 MB once it has seen one freed, and fills the gaps badly: layers would seem to pile up.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**20)
