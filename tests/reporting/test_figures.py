"""The figures of a sweep have their axes, and marks at the numbers."""

import sys

import numpy as np
import pytest
from sweep_rows import base_row, make_record, make_row

from jaxpersona.core.errors import InputError
from jaxpersona.reporting.figures import budget, check_matplotlib, pareto, samples, save_figures
from jaxpersona.reporting.sweep_summary import summarize

PERSONAS = ("gain", "loss")
ROWS = [
    base_row(),
    make_row("wanda", 0.1, budget="sparsity=0.1", kept=(0.9, 0.9), perplexity=(40.4, 40.2)),
    make_row("wanda", 0.2, budget="sparsity=0.5", kept=(0.5, 0.5), perplexity=(80.0, 60.0)),
    make_row("wanda", 0.05, budget="sparsity=0.1", kept=(0.9, 0.9), size=4),
    make_row("wanda", 0.15, budget="sparsity=0.5", kept=(0.5, 0.5), size=4),
    make_row("first_order", 0.6, budget="max_perplexity_increase=0.02", kept=(0.99, 0.98), perplexity=(40.8, 40.5)),
    make_row("rag", 0.1, "baseline", "", perplexity=(40.0, 40.0), kept=(None, None)),
    make_row("random", 0.0, "control", of="wanda"),
    make_row("longer", 0.0, "control", "", None, perplexity=(None, None)),
]
POINTS = summarize(make_record(ROWS), PERSONAS)


def line(axes, label):
    """Returns x and y of the marks under a label."""
    (found,) = [drawn for drawn in axes.containers if drawn.get_label() == label]
    return np.array(found[0].get_xydata())


def words(figure):
    axes = figure.axes[0]
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_all_are_written_and_can_be_opened(tmp_path):
    from matplotlib.image import imread

    assert save_figures(make_record(ROWS), PERSONAS, (0.55, 0.02), tmp_path) == ["pareto.png", "budget.png", "samples.png"]
    for name in ("pareto.png", "budget.png", "samples.png"):
        image = imread(tmp_path / name)
        assert image.shape[0] > 500 and image.shape[1] > 900 and image.std() > 0.05


def test_pareto_has_separation_over_the_worse_damage():
    figure = pareto(POINTS, PERSONAS, "about", (0.55, 0.02))
    (axes,) = figure.axes
    assert line(axes, "wanda") == pytest.approx(np.array([[1, 10], [100, 20]]))
    assert line(axes, "first_order") == pytest.approx(np.array([[2, 60]]))
    assert line(axes, "rag") == pytest.approx(np.array([[0, 10]]))
    assert "damage: increase of perplexity" in axes.get_xlabel() and "separation" in axes.get_ylabel()
    assert [word for word in words(figure) if "$" not in word] == ["wanda", "first_order", "rag", "random"]
    notes = " ".join(text.get_text() for text in axes.texts)
    assert "chance" in notes and "goal: at least 55 points" in notes
    assert axes.get_xlim()[0] < 0 < 100 < axes.get_xlim()[1] and axes.get_ylim()[0] < -20 and axes.get_ylim()[1] > 70
    assert "goal" not in " ".join(text.get_text() for text in pareto(POINTS, PERSONAS, "about").axes[0].texts)


def test_error_bars_are_the_intervals():
    (axes,) = pareto(POINTS, PERSONAS, "about").axes
    (drawn,) = [drawn for drawn in axes.containers if drawn.get_label() == "first_order"]
    (segment,) = drawn[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([40, 70])


def test_budget_has_a_panel_for_either_persona():
    figure = budget(POINTS, PERSONAS, "about")
    for axes, persona in zip(figure.axes, PERSONAS, strict=True):
        assert line(axes, "wanda") == pytest.approx(np.array([[10, 55], [50, 60]]))
        assert persona in axes.get_title() and "weights removed" in axes.get_xlabel()
    assert "accuracy" in figure.axes[0].get_ylabel()


def test_samples_has_a_line_for_every_budget():
    (axes,) = samples(POINTS, "about").axes
    drawn = [np.array(found[0].get_xydata()) for found in axes.containers]
    assert drawn[0] == pytest.approx(np.array([[4, 5], [8, 10]])) and drawn[1] == pytest.approx(np.array([[4, 15], [8, 20]]))
    assert axes.get_xlabel() == "calibration pairs" and "separation" in axes.get_ylabel()
    assert "30 %" not in [text.get_text() for text in axes.texts] and "50 %" in [text.get_text() for text in axes.texts]


def test_what_has_one_point_is_no_figure(tmp_path):
    record = make_record([base_row(), make_row("wanda")])
    assert save_figures(record, PERSONAS, None, tmp_path) == [] and not list(tmp_path.iterdir())


def test_many_methods_and_a_broken_model_can_be_drawn(tmp_path):
    rows = [make_row(f"method{n}", n / 20, perplexity=(40.0 * 3**n, 40.0)) for n in range(12)]
    assert save_figures(make_record([base_row(), *rows]), PERSONAS, None, tmp_path) == ["pareto.png"]


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "jaxpersona\[plots\]"'):
        check_matplotlib()
