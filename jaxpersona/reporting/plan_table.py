"""A plan, as tables in the terminal."""

from rich.console import Console
from rich.table import Table

from jaxpersona.core.accelerators import Accelerator
from jaxpersona.discovery import costs
from jaxpersona.discovery.plan import Plan

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def print_plan(plan: Plan) -> None:
    """Prints shapes, data, memory and the least time of every stage."""
    console = Console(markup=False, emoji=False)
    for table in (_about(plan), _memory(plan), _stages(plan)):
        console.print(table)


def _about(plan: Plan) -> Table:
    config, texts, devices = plan.config, plan.texts, plan.devices
    widths = f"{config.hidden_size} wide, MLP {config.intermediate_size}, vocabulary {config.vocab_size:,}"
    kernels = costs.kernel_shapes(config).items()
    table = Table(title=f"Plan: {plan.method}", show_header=False)
    for name, value in (
        ("model", f"{costs.parameters(config):,} parameters, {costs.maskable(config):,} maskable"),
        ("", f"{config.num_layers} layers, {widths}"),
        ("kernels", ", ".join(f"{path.split('/')[-2]} {inputs}x{out}" for path, (_, inputs, out) in kernels)),
        ("data", f"{texts.pairs} pairs, {texts.tokens:,} tokens"),
        ("batches", f"{texts.batches} of {texts.rows} rows of {texts.length}, {texts.padded_tokens:,} places"),
        ("passes", f"{plan.forward_passes} batches forward, {plan.backward_passes} backward"),
        ("devices", f"{devices.count} x {devices.kind.name}, mesh data {devices.data} x model {devices.model}"),
        ("at best", _rates(devices.kind)),
    ):
        table.add_row(name, value)
    return table


def _rates(kind: Accelerator) -> str:
    products = f"{_short(kind.flops)}FLOP/s bfloat16, {_short(kind.flops_float32)}FLOP/s float32"
    return f"{products}, {_short(kind.bytes_per_second)}B/s ({'measured now' if kind.is_measured else 'published'})"


def _memory(plan: Plan) -> Table:
    table = Table(title="Memory and disk")
    table.add_column("what")
    table.add_column("about", justify="right")
    for name, value in (
        (f"a device: parameters, {plan.itemsize} bytes each", plan.parameter_bytes),
        ("a device: activations", plan.activation_bytes),
        ("a device: statistics", plan.statistics_bytes),
        ("a device: choosing", plan.mask_stage_bytes),
        ("a device: peak", plan.peak_bytes),
        ("host: peak" + (", devices included" if plan.devices.is_host else ""), plan.peak_host_bytes),
        ("disk: written", plan.written_bytes),
        ("disk: checkpoints, while it runs", plan.progress_bytes),
    ):
        table.add_row(name, f"{_short(value)}B")
    return table


def _stages(plan: Plan) -> Table:
    table = Table(
        title="Stages, of one device",
        caption="at least: at peak rates; programs reach perhaps half of them, and compilation comes on top",
    )
    table.add_column("stage")
    for heading in ("operations", "memory traffic", "sent", "disk", "at least"):
        table.add_column(heading, justify="right")
    for stage in plan.stages:
        work = (stage.flops, stage.memory_bytes, stage.sent_bytes, stage.host_bytes)
        units = ("FLOP", "B", "B", "B")
        cells = [f"{_short(value)}{unit}" if value else "" for value, unit in zip(work, units, strict=True)]
        table.add_row(stage.name, *cells, _time(stage.seconds))
    table.add_section()
    table.add_row("all", "", "", "", "", _time(plan.seconds))
    return table


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"


def _short(value: float) -> str:
    """A number with three digits and the first letters of its unit.

    >>> _short(989e12), _short(1500.0), _short(3.0)
    ('989 T', '1.5 k', '3 ')
    """
    for size, letter in _UNITS:
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g} "
