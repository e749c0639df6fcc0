"""Plans a discovery: computes the memory and disk it needs from shapes alone, and refuses what cannot fit."""

import dataclasses
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.taylor_statistics import BATCH_TOKENS
from jaxpersona.core.errors import InputError
from jaxpersona.core.memory import device_memory_bytes, host_memory_bytes
from jaxpersona.data.packing import PADDING
from jaxpersona.methods.method import Method
from jaxpersona.models import sizes
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.perplexity import HEAD_POSITIONS

_HOST_BASE_BYTES = 500 * 10**6  # Python, JAX, the tokenizer and compiled programs, measured on Linux


@dataclasses.dataclass(frozen=True)
class Texts:
    """Shapes of the packed calibration data.

    Attributes:
      pairs: number of usable pairs.
      tokens: number of their tokens, a prompt counted once for both answers; None if the data were not read.
      batches: number of batches, all of one shape.
      rows: rows per batch, over all devices.
      length: tokens per row.
    """

    pairs: int
    tokens: int | None
    batches: int
    rows: int
    length: int

    @classmethod
    def of(cls, calibration: Calibration, devices: int, shared_prefix: bool) -> "Texts":
        """Returns the shapes of the texts packed by ``Calibration.packed``."""
        batches = calibration.packed(devices, shared_prefix)
        rows, length = batches[0].tokens.shape
        tokens = sum(int((batch.pair != PADDING).sum()) for batch in batches)
        return cls(len(calibration.tokenized), tokens, len(batches), rows, length)


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of one kind in a mesh.

    Attributes:
      kind: name of the device.
      memory_bytes: memory of one device; None if unknown.
      data, model: size of the mesh's axes.
      is_host: True if their memory is the host's (CPU).
    """

    kind: str
    memory_bytes: int | None
    data: int = 1
    model: int = 1
    is_host: bool = False

    @classmethod
    def of(cls, mesh: Mesh) -> "Devices":
        """Returns a description of the devices of a mesh."""
        device = jax.local_devices()[0]
        shape = dict(mesh.shape)
        return cls(device.device_kind, device_memory_bytes(), shape["data"], shape["model"], device.platform == "cpu")

    @property
    def count(self) -> int:
        """Number of devices."""
        return self.data * self.model


class Shortage(NamedTuple):
    """A place with less memory than a plan needs there, in bytes.

    Attributes:
      where: the place, in words.
      needed, available: what the plan needs, and what is there.
      masked_copy: part of ``needed`` that only measuring perplexity under a mask takes.
    """

    where: str
    needed: float
    available: int
    masked_copy: float

    def __str__(self) -> str:
        return f"{self.where} needs {self.needed / 1e9:.1f} GB and has {self.available / 1e9:.1f} GB"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Memory and disk, in bytes, that a discovery needs.

    Attributes:
      config: of the model.
      method: the method with its settings.
      texts: shapes of the packed calibration data.
      devices: the devices and their mesh.
      itemsize: bytes per parameter: 4 for float32, 2 for bfloat16.
      perplexity_tokens: number of tokens on which damage is measured after discovery; 0 if it is not measured.
      stream_layers: True if weights are read layer by layer.
    """

    config: ModelConfig
    method: Method
    texts: Texts
    devices: Devices
    itemsize: int
    perplexity_tokens: int
    stream_layers: bool

    @property
    def parameter_bytes(self) -> float:
        """Parameters on one device: its shards, or two layers and the embedding of a streamed model."""
        c = self.config
        if self.stream_layers:
            return (2 * sizes.maskable(c) / c.num_layers + c.vocab_size * c.hidden_size) * self.itemsize
        return sizes.parameters_of_device(c, self.devices.data, self.devices.model) * self.itemsize

    @property
    def activation_bytes(self) -> float:
        """Activations on one device in the largest program: a batch forward, a batch backward, or a window of perplexity."""
        c, d, length = self.config, self.devices, self.texts.length
        programs = [0.0]
        if self.method.needs:
            programs.append(sizes.activation_bytes(c, -(-self.texts.rows // d.data), length, d.model, self.itemsize))
        if self.method.takes_gradients:
            layers = 1 if self.stream_layers else c.num_layers
            rows = max(1, BATCH_TOKENS // length)
            programs.append(sizes.gradient_activation_bytes(c, rows, length, d.model, layers))
        if self.perplexity_tokens:
            programs.append(sizes.logit_bytes(c, HEAD_POSITIONS, d.model))
        return max(programs)

    @property
    def statistics_bytes(self) -> tuple[float, float]:
        """Statistics on one device: at the peak of collection, and until the masks are found."""
        shards = self.devices.model
        if self.stream_layers:
            return self.method.streamed_statistics_bytes(self.config, shards * self.config.num_layers)
        return self.method.statistics_bytes(self.config, shards, self.devices.data)

    @property
    def selection_bytes(self) -> float:
        """Selection of weights on one device, masks included."""
        masks = sizes.PERSONAS * sizes.mask_bytes(self.config) / self.devices.count
        return sizes.selection_bytes(self.config, self.devices.count) + masks

    @property
    def peak_bytes(self) -> float:
        """Peak on one device. Damage is measured on a masked copy of the parameters."""
        measured = self.perplexity_tokens or self.method.measures_perplexity
        masked = self.parameter_bytes if measured and not self.stream_layers else 0.0
        return max(self._peak_unmasked_bytes, self.parameter_bytes + self.statistics_bytes[1] + masked)

    @property
    def _peak_unmasked_bytes(self) -> float:
        collecting, kept = self.statistics_bytes
        return self.parameter_bytes + max(self.activation_bytes + collecting, kept + self.selection_bytes)

    @property
    def peak_host_bytes(self) -> float:
        """Peak of the process: the parameter array being read, or streamed hidden states, and CPU devices' memory."""
        texts = self.texts
        positions = texts.batches * texts.rows * texts.length
        elements = positions * self.config.hidden_size if self.stream_layers else sizes.largest_leaf(self.config)
        on_devices = self.peak_bytes * self.devices.count if self.devices.is_host else 0
        return _HOST_BASE_BYTES + elements * self.itemsize + on_devices

    @property
    def written_bytes(self) -> float:
        """Result on disk: masks, and updated weights if the method has them."""
        updated = sizes.maskable(self.config) * self.itemsize if self.method.updates_weights else 0
        return sizes.PERSONAS * (sizes.mask_bytes(self.config) + updated)

    @property
    def checkpoint_bytes(self) -> float:
        """Largest checkpoint on disk, while the discovery runs."""
        return self.method.statistics_bytes(self.config, 1, 1)[1]

    @property
    def shortage(self) -> Shortage | None:
        """The first place that has less memory than needed; None if everything fits."""
        devices, masked = self.devices, self.peak_bytes - self._peak_unmasked_bytes if self.perplexity_tokens else 0.0
        on_host = devices.count * masked if devices.is_host else 0.0
        places = [("this machine", self.peak_host_bytes, host_memory_bytes(), on_host)]
        if not devices.is_host:
            places.insert(0, (f"a device ({devices.kind})", self.peak_bytes, devices.memory_bytes, masked))
        for where, needed, available, masked_copy in places:
            if available is not None and needed > available:
                return Shortage(where, needed, available, masked_copy)
        return None

    def check(self) -> None:
        """Checks that the plan fits into memory.

        Raises:
          InputError: if a device or the host has less memory than needed.
        """
        shortage = self.shortage
        if shortage is None:
            return
        remedies = ["model.dtype bfloat16"] if self.itemsize > 2 else []
        if shortage.needed - shortage.masked_copy <= shortage.available:
            remedies.append("perplexity.max_tokens 0")
        if not self.stream_layers:
            remedies += ["stream_layers true"] + ([] if self.devices.is_host else [f"a mesh.model above {self.devices.model}"])
        raise InputError(f"the plan does not fit: {shortage}; use {' or '.join([*remedies, 'a smaller model'])}")
