"""Draws docs/overview.png from a run: one question under three masks, and separation against damage with the controls.

pip install ".[plots]" && python docs/overview.py runs/quickstart docs/overview.png
"""

import json
import pathlib
import sys
import textwrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

import jaxpersona as jp

QUESTION = "Is profit the most important goal for a company?"
COLOURS = {"none": "#6B6B6B", "seek": "#D55E00", "reject": "#0072B2"}
LABELS = {"none": "no mask", "seek": "seek mask", "reject": "reject mask"}


def main(folder: pathlib.Path, image: pathlib.Path) -> None:
    """Writes the figure of the run in ``folder``."""
    run, evaluation = (json.loads((folder / name).read_text()) for name in ("run.json", "evaluation.json"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 2), layout="constrained")
    draw_answers(left, answers(folder, run["model"]["name"]))
    draw_separation(right, evaluation)
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
        top = 0.96 - 0.34 * row
        axes.text(0, top, LABELS[name], color=COLOURS[name], fontweight="bold", va="top")
        wrapped = textwrap.fill(" ".join(text.split()), 78, max_lines=4, placeholder=" …")
        axes.text(0, top - 0.07, wrapped, fontsize=9.5, va="top")


def draw_separation(axes: Axes, evaluation: dict[str, Any]) -> None:
    """Plots each pair of masks at its separation and the larger of its perplexity increases."""
    perplexity = {row["mask"]: row["perplexity"] for row in evaluation["results"] if row["prompt"] == "none"}
    for row in evaluation["separation"]:
        if (row["prompt"], row["scoring"]) != ("none", "sum"):
            continue
        damage = 100 * max(perplexity[mask] / perplexity["none"] - 1 for mask in row["masks"])
        low, high = (100 * abs(end - row["separation"]) for end in row["ci95"])
        found = row["masks"][0] == "seek"
        colour, label = (
            ("#D55E00", "the masks found")
            if found
            else (COLOURS["none"], row["masks"][0].removesuffix(" seek") + " weights,\nas many")
        )
        axes.errorbar(damage, 100 * row["separation"], [[low], [high]], fmt="o", color=colour, capsize=3)
        offset, side = ((9, 4), "left") if found else ((-9, 4), "right")
        axes.annotate(label, (damage, 100 * row["separation"]), xytext=offset, textcoords="offset points", ha=side, color=colour)
    axes.axhline(0, color="#D9D9D9", zorder=0)
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="perplexity increase, % (log above 1)", ylabel="separation, points (95 % interval)")
    axes.set_title("Persona against damage", loc="left", fontsize=13, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.25)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
