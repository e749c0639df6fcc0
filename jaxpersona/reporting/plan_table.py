"""Prints a plan as tables in the terminal."""

from rich.console import Console
from rich.table import Table

from jaxpersona.discovery.plan import Plan
from jaxpersona.models import sizes

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def print_plan(plan: Plan) -> None:
    """Prints the shapes, data, devices, memory and disk of a plan."""
    console = Console(markup=False, emoji=False)
    console.print(_about(plan))
    console.print(_memory(plan))


def _about(plan: Plan) -> Table:
    config, texts, devices = plan.config, plan.texts, plan.devices
    widths = f"hidden size {config.hidden_size}, MLP {config.intermediate_size}, vocabulary {config.vocab_size:,}"
    kernels = sizes.kernel_shapes(config).items()
    table = Table(title=f"Plan: {plan.method.name}", show_header=False)
    for name, value in (
        ("model", f"{sizes.parameters(config):,} parameters, {sizes.maskable(config):,} maskable"),
        ("", f"{config.num_layers} layers, {widths}"),
        ("kernels", ", ".join(f"{path.split('/')[-2]} {inputs}x{out}" for path, (_, inputs, out) in kernels)),
        ("data", f"{texts.pairs} pairs" + ("" if texts.tokens is None else f", {texts.tokens:,} tokens")),
        ("batches", f"{texts.batches} of {texts.rows} rows of {texts.length} tokens"),
        ("devices", f"{devices.count} x {devices.kind}, mesh data {devices.data} x model {devices.model}"),
    ):
        table.add_row(name, value)
    return table


def _memory(plan: Plan) -> Table:
    table = Table(title="Memory and disk, estimated")
    table.add_column("use")
    table.add_column("size", justify="right")
    for name, value in (
        (f"a device: parameters, {plan.itemsize} bytes each", plan.parameter_bytes),
        ("a device: activations", plan.activation_bytes),
        ("a device: statistics", plan.statistics_bytes[0]),
        ("a device: selection", plan.selection_bytes),
        ("a device: peak", plan.peak_bytes),
        ("host: peak" + (", devices included" if plan.devices.is_host else ""), plan.peak_host_bytes),
        ("disk: written", plan.written_bytes),
        ("disk: checkpoints, while it runs", plan.checkpoint_bytes),
    ):
        table.add_row(name, f"{_short(value)}B")
    return table


def _short(value: float) -> str:
    """Formats a number with three digits and a unit prefix.

    >>> _short(989e12), _short(1500.0), _short(3.0)
    ('989 T', '1.5 k', '3 ')
    """
    for size, letter in _UNITS:
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g} "
