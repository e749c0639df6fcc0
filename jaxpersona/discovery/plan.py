"""The plan of a discovery, before anything large is read: work, memory and least time of every stage, and whether it can fit."""

import dataclasses
import functools
from typing import Any

from jaxpersona.calibration import generated_text
from jaxpersona.calibration.fisher import GROUP
from jaxpersona.core.accelerators import Accelerator, host_memory_bytes
from jaxpersona.core.errors import InputError
from jaxpersona.discovery import costs
from jaxpersona.methods.methods import AnyMethod, FirstOrder, SparseGPT
from jaxpersona.models.config import ModelConfig

HOST_BASE_BYTES = 500 * 10**6
"""Python, JAX, the tokenizer and compiled programs: measured on Linux."""
_DISK_BYTES_PER_SECOND = 1e9  # assumed
_SEARCH_STEPS = 6  # prices tried for one persona; at most 12
_GRADIENT_ROWS, _BUDGET_TOKENS, _WINDOW = 2, 2048, 512


@dataclasses.dataclass(frozen=True)
class Texts:
    """Packed calibration data.

    Attributes:
      pairs: that are used.
      tokens: of them, a prompt counted once for both answers, and what all begin with once a row.
      batches: all of one shape.
      rows: of a batch, over all devices.
      length: tokens of a row.
    """

    pairs: int
    tokens: int
    batches: int
    rows: int
    length: int

    @property
    def padded_tokens(self) -> int:
        """Tokens that are computed, empty places of rows included."""
        return self.batches * self.rows * self.length


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of one kind, in a mesh.

    Attributes:
      kind: what each can do.
      data, model: the mesh.
      is_host: whether their memory is the host's (CPU).
    """

    kind: Accelerator
    data: int = 1
    model: int = 1
    is_host: bool = False

    @property
    def count(self) -> int:
        """How many there are."""
        return self.data * self.model


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one device does in one stage.

    Attributes:
      flops: floating-point operations.
      memory_bytes: to and from the device's memory.
      sent_bytes: to other devices.
      host_bytes: from or to a disk.
      seconds: of the slowest of the four at peak rates. A lower bound: real programs reach perhaps half of a peak.
    """

    name: str
    flops: float = 0.0
    memory_bytes: float = 0.0
    sent_bytes: float = 0.0
    host_bytes: float = 0.0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a discovery takes.

    Attributes:
      itemsize: bytes of a parameter.
      forward_passes, backward_passes: over batches, both for calibration.
      parameter_bytes, activation_bytes, statistics_bytes, mask_stage_bytes: of one device; the last is what choosing needs.
      masked_bytes: of one device, what measuring perplexity under a mask adds to the peak.
      peak_bytes: of one device at the worst moment.
      peak_host_bytes: of the process; where devices are the host's, with theirs.
      written_bytes: of the result.
      progress_bytes: of the largest checkpoint.
    """

    config: ModelConfig
    method: str
    texts: Texts
    devices: Devices
    itemsize: int
    stream_layers: bool
    forward_passes: int
    backward_passes: int
    parameter_bytes: float
    activation_bytes: float
    statistics_bytes: float
    mask_stage_bytes: float
    masked_bytes: float
    peak_bytes: float
    peak_host_bytes: float
    written_bytes: float
    progress_bytes: float
    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        """Of all stages: a lower bound."""
        return sum(stage.seconds for stage in self.stages)

    def check(self) -> None:
        """Refuses what cannot fit.

        Raises:
          InputError: when a device or the host has less memory than needed.
        """
        kind, shared = self.devices.kind, self.devices.count if self.devices.is_host else 0
        if not shared:
            self._check_fits(self.peak_bytes, kind.memory_bytes, f"a device ({kind.name})", self.masked_bytes)
        self._check_fits(self.peak_host_bytes, host_memory_bytes(), "this machine", shared * self.masked_bytes)

    def _check_fits(self, needed: float, there: int | None, where: str, for_perplexity: float) -> None:
        if there is None or needed <= there:
            return
        ways = ["model.dtype bfloat16"] if self.itemsize > 2 else []
        if needed - for_perplexity <= there:
            ways.append("perplexity.max_tokens 0")
        if not self.stream_layers:
            ways += ["stream_layers true"] + ([] if self.devices.is_host else [f"a mesh.model above {self.devices.model}"])
        raise InputError(
            f"the plan does not fit: {where} needs {needed / 1e9:.1f} GB and has {there / 1e9:.1f} GB; "
            f"use {' or '.join([*ways, 'a smaller model'])}"
        )


def plan(
    config: ModelConfig,
    method: AnyMethod,
    texts: Texts,
    devices: Devices,
    itemsize: int = 2,
    batch_itemsize: int | None = None,
    perplexity_tokens: int = 2048,
    stream_layers: bool = False,
) -> Plan:
    """The plan of ``discover``.

    Args:
      config: of the model.
      texts: the calibration data as they are packed.
      itemsize: bytes of a parameter: 4 for float32, 2 for bfloat16.
      batch_itemsize: bytes of the numbers that statistics are computed in; default those of the parameters.
      perplexity_tokens: on which damage is measured, without a mask and under both.
      stream_layers: whether weights are read a layer at a time.
    """
    forward, backward = _passes(method, texts, devices)
    memory = _Memory(config, method, texts, devices, itemsize, perplexity_tokens, stream_layers)
    stages = _Stages(config, method, texts, devices, itemsize, batch_itemsize or itemsize, perplexity_tokens)
    return Plan(
        config=config,
        method=method.name,
        texts=texts,
        devices=devices,
        itemsize=itemsize,
        stream_layers=stream_layers,
        forward_passes=forward,
        backward_passes=backward,
        parameter_bytes=memory.parameters,
        activation_bytes=memory.activations,
        statistics_bytes=memory.statistics["collecting"],
        mask_stage_bytes=memory.choosing,
        masked_bytes=memory.peak - memory.peak_unmasked if perplexity_tokens else 0.0,
        peak_bytes=memory.peak,
        peak_host_bytes=memory.host,
        written_bytes=_written_bytes(config, method, itemsize),
        progress_bytes=_statistics_bytes(config, method, 1)["kept"],
        stages=stages.all(),
    )


def _passes(method: AnyMethod, texts: Texts, devices: Devices) -> tuple[int, int]:
    """Batches that are read forward, and of these backward as well."""
    if not method.needs:
        return 0, 0
    if not isinstance(method, FirstOrder):
        return texts.batches, 0
    own = generated_text.TEXTS * generated_text.LENGTH // (_GRADIENT_ROWS * 256 * devices.data)
    both = -(-texts.batches * texts.rows // (_GRADIENT_ROWS * devices.data)) + own
    return both, both


def _statistics_bytes(config: ModelConfig, method: AnyMethod, parts: int, alone: bool = True) -> dict[str, float]:
    """Of one device: while a batch is added, and until the masks are found.

    Args:
      parts: into how many what is as large as the model is split, by ``model`` or by reading layer by layer.
      alone: whether the device shares the texts with no other, and so adds gradients to the sums in place.
    """
    if isinstance(method, FirstOrder):
        gradient, factors = 4 * costs.maskable(config) / parts, costs.outer_bytes(config, 1) / parts
        return {"collecting": max((3 - alone) * (gradient + factors), gradient + 3 * factors), "kept": gradient + factors}
    if isinstance(method, SparseGPT):
        sums = costs.outer_bytes(config) / parts
        return {"collecting": 3 * sums, "kept": sums}
    moments = float(costs.moments_bytes(config)) if method.needs else 0.0
    return {"collecting": 3 * moments, "kept": moments}


def _written_bytes(config: ModelConfig, method: AnyMethod, itemsize: int) -> int:
    """Masks, and new weights where the method has them."""
    updated = costs.maskable(config) * itemsize if isinstance(method, SparseGPT) and method.update else 0
    return costs.PERSONAS * (costs.mask_bytes(config) + updated)


@dataclasses.dataclass(frozen=True)
class _Memory:
    """What one device holds at a time, in bytes, and what its process does."""

    config: ModelConfig
    method: AnyMethod
    texts: Texts
    devices: Devices
    itemsize: int
    perplexity_tokens: int
    stream_layers: bool

    @functools.cached_property
    def parameters(self) -> float:
        """A device's shards; of a streamed model two layers and the embedding."""
        c, d = self.config, self.devices
        if self.stream_layers:
            return (2 * costs.maskable(c) / c.num_layers + c.vocab_size * c.hidden_size) * self.itemsize
        return costs.parameters_of_device(c, d.data, d.model) * self.itemsize

    @functools.cached_property
    def activations(self) -> float:
        """Of the largest of what is run: a batch forward, a window of perplexity, a batch backward."""
        c, d, length = self.config, self.devices, self.texts.length
        forward, backward = _passes(self.method, self.texts, d)
        found = [0.0]
        if forward:
            found.append(costs.activation_bytes(c, -(-self.texts.rows // d.data), length, d.model, self.itemsize))
        if self.perplexity_tokens:
            found.append(costs.logit_bytes(c, _WINDOW, d.model))
        if backward:
            layers = 1 if self.stream_layers else c.num_layers
            found.append(costs.gradient_activation_bytes(c, _GRADIENT_ROWS, length, d.model, layers))
        return max(found)

    @functools.cached_property
    def statistics(self) -> dict[str, float]:
        parts = self.devices.model * (self.config.num_layers if self.stream_layers else 1)
        return _statistics_bytes(self.config, self.method, parts, self.devices.data == 1 or self.stream_layers)

    @functools.cached_property
    def choosing(self) -> float:
        """What finding masks needs besides parameters and statistics, the masks included."""
        count = self.devices.count
        return costs.selection_bytes_held(self.config, count) + costs.PERSONAS * costs.mask_bytes(self.config) / count

    @functools.cached_property
    def peak_unmasked(self) -> float:
        """The most, as long as no mask is tried on the model."""
        return self.parameters + max(self.activations + self.statistics["collecting"], self.statistics["kept"] + self.choosing)

    @functools.cached_property
    def peak(self) -> float:
        """The most: damage is measured on a copy of the parameters under a mask."""
        measured = self.perplexity_tokens or getattr(self.method, "max_perplexity_increase", None) is not None
        masked = self.parameters if measured and not self.stream_layers else 0.0
        return max(self.peak_unmasked, self.parameters + self.statistics["kept"] + masked)

    @property
    def host(self) -> float:
        """Of the process: the parameter array being read, or hidden states if streamed, and devices that are the host's."""
        c = self.config
        read = self.texts.padded_tokens * c.hidden_size if self.stream_layers else costs.largest_leaf(c)
        return HOST_BASE_BYTES + read * self.itemsize + (self.peak * self.devices.count if self.devices.is_host else 0)


@dataclasses.dataclass(frozen=True)
class _Stages:
    """The stages of a plan, each as one of the devices sees it."""

    config: ModelConfig
    method: AnyMethod
    texts: Texts
    devices: Devices
    itemsize: int
    batch_itemsize: int
    perplexity_tokens: int

    def all(self) -> tuple[Stage, ...]:
        found = [self._stage("load", host_bytes=costs.parameters(self.config) * self.itemsize)]
        if self.perplexity_tokens:
            found.append(self._perplexity("perplexity", (1 + costs.PERSONAS) * self.perplexity_tokens))
        if isinstance(self.method, FirstOrder):
            found += [self._gradients(), self._own_text(), self._search()]
        else:
            found += ([self._forward()] if self.method.needs else []) + [self._choice()]
        return (*found, self._stage("save", host_bytes=_written_bytes(self.config, self.method, self.itemsize)))

    def _stage(self, name: str, itemsize: int | None = None, **work: Any) -> Stage:
        kind = self.devices.kind
        stage = Stage(name, **work)
        flops = kind.flops if (itemsize or self.itemsize) == 2 else kind.flops_float32
        times = (
            stage.flops / flops,
            stage.memory_bytes / kind.bytes_per_second,
            stage.sent_bytes / kind.link_bytes_per_second,
            stage.host_bytes / _DISK_BYTES_PER_SECOND,
        )
        return dataclasses.replace(stage, seconds=max(times))

    def _weights(self) -> float:
        """Bytes of the parameters one device reads for a batch."""
        return costs.parameters_of_device(self.config, self.devices.data, self.devices.model) * self.itemsize

    def _rows(self, tokens: float, batches: int, sums: float, flops: float, passes: int = 1, group: int = 1) -> dict[str, Any]:
        """Work on batches whose rows are shared, and whose sums, of so many bytes, devices add up after every ``group``."""
        c, d = self.config, self.devices
        return {
            "flops": flops / d.count,
            "memory_bytes": batches * (passes * self._weights() + 2 * sums / d.model)
            + passes * tokens / d.data * costs.moved_activation_bytes(c, self.texts.length, self.itemsize) / d.model,
            "sent_bytes": passes * costs.sent_for_rows(c, tokens / d.data, d.model)
            + -(-batches // group) * costs.sent_for_sums(sums / d.model, d.data),
        }

    def _perplexity(self, name: str, tokens: int) -> Stage:
        """Windows one by one, so that ``data`` does not share them."""
        c, model = self.config, self.devices.model
        flops = costs.forward_flops(c, tokens, _WINDOW, head=True) / model
        read = -(-tokens // _WINDOW) * self._weights() + 8 * tokens * c.vocab_size / model
        sent = costs.sent_for_rows(c, tokens, model)
        return self._stage(name, self.batch_itemsize, flops=flops, memory_bytes=read, sent_bytes=sent)

    def _forward(self) -> Stage:
        c, t = self.config, self.texts
        wide = isinstance(self.method, SparseGPT)
        sums = costs.outer_flops(c, t.padded_tokens) if wide else costs.moment_flops(c, t.padded_tokens)
        size = costs.outer_bytes(c) if wide else costs.moments_bytes(c)
        flops = costs.forward_flops(c, t.padded_tokens, t.length) + sums
        return self._stage("calibrate", self.batch_itemsize, **self._rows(t.padded_tokens, t.batches, size, flops))

    def _gradients(self) -> Stage:
        c, t = self.config, self.texts
        own = generated_text.TEXTS * generated_text.LENGTH
        flops = costs.gradient_flops(c, t.padded_tokens, t.length, True) + costs.gradient_flops(
            c, own, generated_text.LENGTH, False
        )
        size = 4 * costs.maskable(c) + costs.outer_bytes(c, 1)
        batches = _passes(self.method, t, self.devices)[0]
        work = self._rows(t.padded_tokens + own, batches, size, flops, passes=3, group=GROUP)
        return self._stage("calibrate", self.batch_itemsize, **work)

    def _own_text(self) -> Stage:
        """Token by token, all texts at once: the weights are read for every one."""
        c = self.config
        flops = (
            costs.forward_flops(c, generated_text.TEXTS * generated_text.LENGTH, generated_text.LENGTH, head=True)
            / self.devices.model
        )
        return self._stage(
            "write own text", self.batch_itemsize, flops=flops, memory_bytes=generated_text.LENGTH * self._weights()
        )

    def _search(self) -> Stage:
        """Choices at several prices, each measured on the budget's text where there is a budget."""
        assert isinstance(self.method, FirstOrder)
        c, d, times = self.config, self.devices, costs.PERSONAS * _SEARCH_STEPS
        measured = self._perplexity("", _BUDGET_TOKENS if self.method.max_perplexity_increase is not None else 0)
        read = (5 * 4 * costs.maskable(c) + costs.outer_bytes(c, 1)) / d.count
        flops = costs.removal_flops(c) / d.count
        return self._stage("mask", flops=times * (flops + measured.flops), memory_bytes=times * (read + measured.memory_bytes))

    def _choice(self) -> Stage:
        c, d = self.config, self.devices
        sent = costs.sent_for_masks(c, d.model, self.itemsize)
        if isinstance(self.method, SparseGPT):
            read = costs.PERSONAS * (costs.outer_bytes(c, 1) + 8.0 * costs.maskable(c)) / d.count
            return self._stage(
                "mask", flops=costs.PERSONAS * costs.inverse_flops(c) / d.count, memory_bytes=read, sent_bytes=sent
            )
        return self._stage("mask", memory_bytes=costs.selection_bytes(c) / d.count, sent_bytes=sent)
