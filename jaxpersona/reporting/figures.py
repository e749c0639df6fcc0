"""Draws a sweep's figures: separation against damage, accuracy against sparsity, separation against calibration pairs."""

from __future__ import annotations

import io
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxpersona.core.errors import InputError
from jaxpersona.core.files import write_atomically
from jaxpersona.reporting.sweep_summary import Point, Spread, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (
    "#D55E00",
    "#0072B2",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#6A3D9A",
    "#8C6D31",
)  # the first six of Okabe and Ito (2008), and two more
_MARKERS = "osD^vPX*"
_INK, _GREY, _FAINT = "#222222", "#8A8A8A", "#D9D9D9"
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def check_matplotlib() -> None:
    """Checks that matplotlib is installed, before the work whose figures need it.

    Raises:
      InputError: if it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError('the figures need the package matplotlib: pip install "jaxpersona[plots]"') from None


def save_figures(
    record: Mapping[str, Any], personas: tuple[str, str], goal: tuple[float, float] | None, folder: pathlib.Path
) -> list[str]:
    """Writes the figures that have enough points, and returns their file names.

    Args:
      record: contents of ``sweep.json``.
      personas: the persona of the matching answers and its opposite.
      goal: separation (in [0, 1]) and relative perplexity increase to mark; None marks nothing.
      folder: where the files go.
    """
    import matplotlib

    points, about = summarize(record, personas), _about(record)
    figures: dict[str, Callable[[], Figure | None]] = {
        "pareto.png": lambda: pareto(points, personas, about, goal),
        "budget.png": lambda: budget(points, personas, about),
        "samples.png": lambda: samples(points, about),
    }
    written = []
    with matplotlib.rc_context(_STYLE):
        for name, draw in figures.items():
            figure = draw()
            if figure is not None:
                image = io.BytesIO()
                figure.savefig(image, format="png", dpi=160)
                write_atomically(folder / name, image.getvalue())
                written.append(name)
    return written


def _about(record: Mapping[str, Any]) -> str:
    data, seeds = record["data"]["held_out"], record["config"]["seeds"]
    count = len(set(seeds)) if isinstance(seeds, list) else 1
    bars = f"mean of {count} seeds, bars: smallest to largest" if count > 1 else "bars: 95 % intervals"
    return f"{record['model']['name']}, {data['pairs']} held-out pairs of {pathlib.PurePath(data['source']).name}; {bars}"


def _largest(points: Sequence[Point]) -> list[Point]:
    size = max(point.num_samples or 0 for point in points)
    return [point for point in points if point.num_samples in (None, size)]


def _by_method(points: Sequence[Point], kind: str = "method") -> dict[str, list[Point]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        if point.kind == kind:
            groups.setdefault(point.method, []).append(point)
    return groups


def _figure(width: float, height: float, title: str, about: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK)
    figure.supxlabel(about, x=0.01, ha="left", fontsize=8.5, color=_GREY)
    return figure


def pareto(
    points: Sequence[Point], personas: tuple[str, str], about: str, goal: tuple[float, float] | None = None
) -> Figure | None:
    """Draws separation against damage: a line per method through its budgets; points for baselines and controls.

    Args:
      points: from ``summarize``.
      personas: the persona of the matching answers and its opposite.
      about: line below the figure: model, data, and meaning of the bars.
      goal: as in ``save_figures``.

    Returns:
      The figure, or None with fewer than two points.
    """
    shown = [point for point in _largest(points) if point.worst_damage is not None]
    if sum(point.kind != "base" for point in shown) < 2:
        return None
    figure = _figure(9.6, 5.8, "What a persona costs: separation against damage", about)
    axes = figure.add_subplot()
    _damage_axes(axes, shown, personas, goal)
    legend = [_heading("Methods, over budgets")]
    for (method, line), colour, marker in zip(
        _by_method(shown, "method").items(), itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False
    ):
        line = sorted(line, key=lambda point: point.worst_damage or 0)
        legend.append(_draw(axes, line, method, color=colour, marker=marker, markersize=6.5, linewidth=2, zorder=4))
    baseline = {"color": _INK, "markersize": 7.5, "zorder": 5}
    control = {"color": _GREY, "markerfacecolor": "white", "markersize": 6, "zorder": 3}
    for kind, heading, style in (("baseline", "Baselines", baseline), ("control", "Controls, same budgets", control)):
        groups = _by_method(shown, kind)
        legend += [_heading(heading)] if groups else []
        for (name, own), marker in zip(groups.items(), itertools.cycle(_MARKERS), strict=False):
            legend.append(_draw(axes, own, name, marker=marker, linestyle="none", **style))
    _legend(axes, legend)
    return figure


def _heading(text: str) -> Any:
    """Returns a legend entry that is a bold heading."""
    from matplotlib.lines import Line2D

    words = text.replace(" ", "\\ ")
    return Line2D([], [], linestyle="none", label=f"$\\bf{{{words}}}$")


def _legend(axes: Axes, handles: Sequence[Any] | None = None, x: float = 1.01) -> None:
    """Puts the legend right of the axes, at ``x`` times their width."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    style = {"bbox_to_anchor": (x, 1.02), "borderaxespad": 0, "labelspacing": 0.5, "handlelength": 1.8}
    axes.legend(handles=handles, loc="upper left", **style)


def _draw(axes: Axes, line: Sequence[Point], label: str, **style: Any) -> Any:
    x = [100 * (point.worst_damage or 0) for point in line]
    return _bars(axes, x, [point.separation for point in line], label, **style)


def _bars(axes: Axes, x: Sequence[float], values: Sequence[Spread], label: str, **style: Any) -> Any:
    """Draws means and their spreads as error bars, in percent."""
    y = [100 * value.mean for value in values]
    down = [max(0.0, 100 * (value.mean - value.low)) for value in values]
    up = [max(0.0, 100 * (value.high - value.mean)) for value in values]
    drawn = axes.errorbar(x, y, yerr=[down, up], label=label, elinewidth=1.2, capsize=0, **style)
    drawn[2][0].set_alpha(0.45)  # because many bars overlap near chance
    return drawn


def _damage_axes(axes: Axes, shown: Sequence[Point], personas: tuple[str, str], goal: tuple[float, float] | None) -> None:
    from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator

    damage = [100 * (point.worst_damage or 0) for point in shown]
    wanted, allowed = (100 * part for part in goal or (0, 0))
    axes.set_xscale("symlog", linthresh=1, linscale=0.8)
    axes.set_xlim(min(-0.5, 1.3 * min(damage)), max(5.0, 1.6 * max(damage), 2 * allowed))
    low, high = (
        bound(100 * part for point in shown for part in (point.separation.low, point.separation.high)) for bound in (min, max)
    )
    axes.set_ylim(min(-10, low - 4), max(20, high + 4, wanted + 15 if goal else 0))
    between = [2, 5] if max(damage) < 1000 else []  # a wide axis has no room for these ticks
    axes.xaxis.set_major_locator(FixedLocator([-100, -10, -1, 0, *between, *(10.0**power for power in range(9))]))
    axes.xaxis.set_minor_locator(NullLocator())
    short = EngFormatter(sep="")  # writes 10k, 1M
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ("+" if value > 0 else "") + short(value)))
    axes.set_xlabel("damage: increase of perplexity under the worse of the two masks, % (linear to 1 %, then logarithmic)")
    first, second = personas
    axes.set_ylabel(f"separation, points: accuracy on {first}\nunder the {first} mask minus under the {second} mask")
    axes.axhline(0, color=_GREY, linewidth=1, zorder=1)
    small: Any = {"textcoords": "offset points", "fontsize": 8.5}
    axes.annotate(" 0: chance", (1, 0), xycoords=("axes fraction", "data"), xytext=(4, 0), va="center", color=_GREY, **small)
    if goal is not None:
        left, top = axes.get_xlim()[0], axes.get_ylim()[1]
        axes.fill_between([left, allowed], wanted, top, color="#F3EFD9", linewidth=0, zorder=0)
        text = f"goal: at least {wanted:g} points\nat no more than +{allowed:g} %"
        axes.annotate(text, (left, top), xytext=(5, -5), va="top", color="#6B6433", **small)


def budget(points: Sequence[Point], personas: tuple[str, str], about: str) -> Figure | None:
    """Draws accuracy on each persona under its own mask against the percentage of weights removed (the paper's Fig. 4).

    Args:
      points, personas, about: as in ``pareto``.

    Returns:
      The figure, or None if no method has two budgets.
    """
    masks = [point for point in _largest(points) if point.removed]
    lines = {method: line for method, line in _by_method(masks).items() if len(line) > 1}
    if not lines:
        return None
    figure = _figure(9.6, 4.6, "Accuracy against sparsity", about)
    panels = figure.subplots(1, 2, sharey=True)
    base = next(point for point in points if point.kind == "base")
    for index, (axes, persona) in enumerate(zip(panels, personas, strict=True)):
        for (method, line), colour, marker in zip(
            lines.items(), itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False
        ):
            line = sorted(line, key=lambda point: point.removed or 0)
            x = [100 * (point.removed or 0) for point in line]
            _bars(axes, x, [point.accuracy[index] for point in line], method, color=colour, marker=marker, linewidth=2)
        _share_axis(axes, [100 * point.removed for line in lines.values() for point in line if point.removed])
        axes.axhline(50, color=_GREY, linewidth=1, zorder=1, label="chance")
        axes.axhline(100 * base.accuracy[index].mean, color=_GREY, linewidth=1, linestyle=":", zorder=1, label="base model")
        axes.set_title(f"{persona} mask, accuracy on {persona}")
        axes.set_xlabel("weights removed, % (mean of the two masks)")
    panels[0].set_ylabel("accuracy, %")
    _legend(panels[1])
    return figure


def _share_axis(axes: Axes, shares: Sequence[float]) -> None:
    """Makes the axis logarithmic if the shares span more than a factor of 20."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if max(shares) > 20 * min(shares):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(shares) < 400 * min(shares) else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def samples(points: Sequence[Point], about: str) -> Figure | None:
    """Draws separation against the number of calibration pairs (the paper's Table 8), a line per method and budget.

    Args:
      points, about: as in ``pareto``.

    Returns:
      The figure, or None with fewer than two numbers of pairs.
    """
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    shown = [point for point in points if point.kind == "method"]
    sizes = sorted({float(point.num_samples or 0) for point in shown})
    if len(sizes) < 2:
        return None
    figure = _figure(8.8, 4.8, "Separation against calibration pairs", about)
    axes = figure.add_subplot()
    ends: list[tuple[Point, str]] = []
    for (method, line), colour in zip(_by_method(shown).items(), itertools.cycle(_COLOURS), strict=False):
        for number, text in enumerate(dict.fromkeys(point.budget for point in line)):
            own = sorted((point for point in line if point.budget == text), key=lambda point: point.num_samples or 0)
            x = [float(point.num_samples or 0) for point in own]
            name = method if number == 0 else "_"  # matplotlib leaves labels that begin with "_" out of the legend
            _bars(axes, x, [point.separation for point in own], name, color=colour, marker="o", markersize=5, linewidth=1.6)
            ends.append((own[-1], colour))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.axhline(0, color=_GREY, linewidth=1, zorder=1, label="chance")
    axes.set_xlabel("calibration pairs")
    axes.set_ylabel("separation, points")
    _label_ends(axes, ends)
    _legend(axes, x=1.13)
    return figure


def _label_ends(axes: Axes, ends: Sequence[tuple[Point, str]]) -> None:
    """Writes budgets at the right ends of lines, from top to bottom, and skips those without room."""
    low, high = axes.get_ylim()
    room, last = (high - low) / 22, float("inf")
    for point, colour in sorted(ends, key=lambda end: -end[0].separation.mean):
        height = 100 * point.separation.mean
        if last - height >= room and point.budget:
            place = (float(point.num_samples or 0), height)
            axes.annotate(point.budget, place, xytext=(8, 0), textcoords="offset points", va="center", fontsize=8, color=colour)
            last = height
