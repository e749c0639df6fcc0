"""Draws docs/overview.png: one question under three masks, and how far the masks of several runs speak beyond other means.

pip install ".[plots]" && python docs/overview.py docs/overview.png runs/wealth runs/extraversion

The runs were evaluated by configs/evaluate_open.yaml. The question is answered under the masks of the first one.
"""

import json
import pathlib
import sys
import textwrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from panel_tables import both_compared, set_name

import jaxpersona as jp

QUESTION = "Is profit the most important goal for a company?"
COLOURS = {"none": "#6B6B6B", "seek": "#D55E00", "reject": "#0072B2"}
LABELS = {"none": "no mask", "seek": "seek mask", "reject": "reject mask"}
BEYOND = {
    "none": ("#6B6B6B", "no mask"),
    "prompt": ("#0072B2", "prompt"),
    "rag": ("#CC79A7", "retrieval"),
    "steering": ("#009E73", "steering"),
    "dpo": ("#D55E00", "DPO"),
}
"""Colour and label of what masks are compared with."""
Run = dict[str, Any]


def main(image: pathlib.Path, folders: list[pathlib.Path]) -> None:
    """Writes the figure of the runs in ``folders``."""
    runs = [{name: json.loads((folder / f"{name}.json").read_text()) for name in ("run", "evaluation")} for folder in folders]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.4), width_ratios=(6, 5), layout="constrained")
    draw_answers(left, answers(folders[0], runs[0]["run"]["model"]["name"]))
    draw_comparisons(right, runs)
    figure.savefig(image, dpi=150)


def answers(folder: pathlib.Path, name: str) -> dict[str, str]:
    """Returns the model's greedy answer to the question under each mask."""
    model = jp.load_model(name)
    masks = {"none": None} | {name: jp.load_masks(folder / "masks" / name, model) for name in ("seek", "reject")}
    return {name: jp.generate(model, [QUESTION], mask, max_new_tokens=48)[0] for name, mask in masks.items()}


def draw_answers(axes: Axes, texts: dict[str, str]) -> None:
    """Writes the question and the three answers."""
    axes.set_axis_off()
    axes.set_title(f"“{QUESTION}”", loc="left", fontsize=13, fontweight="bold")
    for row, (name, text) in enumerate(texts.items()):
        top = 0.96 - 0.32 * row
        axes.text(0, top, LABELS[name], color=COLOURS[name], fontweight="bold", va="top")
        wrapped = textwrap.fill(" ".join(text.split()), 68, max_lines=5, placeholder=" …")
        axes.text(0, top - 0.06, wrapped, fontsize=9.5, va="top")


def draw_comparisons(axes: Axes, runs: list[Run]) -> None:
    """Plots by run how many points both masks lie above both cases of each kind, with paired 95 % intervals."""
    for place, run in enumerate(runs):
        both = both_compared(run["evaluation"])
        for offset, (kind, (colour, _)) in enumerate(BEYOND.items()):
            if kind in both:
                low, high = (100 * abs(end - both[kind]["difference"]) for end in both[kind]["ci95"])
                at = 100 * both[kind]["difference"], place + 0.17 * (offset - 2)
                axes.errorbar(*at, xerr=[[low], [high]], fmt="o", color=colour, markersize=4, elinewidth=1.2)
    for colour, name in BEYOND.values():
        axes.errorbar([], [], xerr=[], fmt="o", color=colour, markersize=4, label=name)
    axes.axvline(0, color="#B0B0B0", zorder=0)
    axes.set_yticks(range(len(runs)), [label(run) for run in runs])
    axes.invert_yaxis()
    axes.set_xlabel("open answers, points: both masks minus (paired 95 % interval)")
    axes.set_title("Masks beyond other means", loc="left", fontsize=13, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, ncols=len(BEYOND), loc="upper center", bbox_to_anchor=(0.5, -0.12), columnspacing=1)


def label(run: Run) -> str:
    """Returns the name of a run's data, and of its model if it is not the smaller one of the documentation."""
    name, model = set_name(run["evaluation"]), run["run"]["model"]["name"]
    return name if model == "smollm2-135m-instruct" else f"{name},\n{model}"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), [pathlib.Path(folder) for folder in sys.argv[2:]])
