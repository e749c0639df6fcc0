"""The whole evaluation: which cases it has, and that each is the model it says."""

import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.data.pairs import Pairs
from jaxpersona.evaluation.comparison import evaluate
from jaxpersona.evaluation.controls import Calibration, random_mask
from jaxpersona.evaluation.evaluator import Evaluator, hold
from jaxpersona.language_modelling import BUILTIN_TEXT, read_text
from jaxpersona.masks import apply_mask

PERSONAS = ("gain", "loss")
FOUND = Pairs("found", tuple(jp.Pair(f"What of {n}?", f"Gold, {n}.", f"No, I give {n} away.") for n in range(6)))
HELD = Pairs("held", tuple(jp.Pair(f"What of {n}?", f"Gold, {n}.", f"I give {n} away.") for n in range(10, 14)))
METHOD = jp.methods.Wanda(sparsity=0.5)


@pytest.fixture(scope="module")
def masks(tiny_model):
    return jp.discover(tiny_model, FOUND, METHOD, personas=PERSONAS, max_length=64).masks


@pytest.fixture(scope="module")
def calibration():
    return Calibration(FOUND, METHOD, "chat", 64, read_text(BUILTIN_TEXT))


def accuracy(rows, mask, prompt="none", scoring="sum"):
    place = {"mask": mask, "prompt": prompt, "scoring": scoring, "persona": PERSONAS[0]}
    (row,) = [row for row in rows if place.items() <= row.items()]
    return row


def test_masks_are_evaluated_beside_the_bare_model_and_nothing_else_by_default(tiny_model, masks):
    found = evaluate(tiny_model, masks, HELD, prompts={"rich": "Take."}, max_length=64, neutral_tokens=0)
    assert {(row["mask"], row["prompt"]) for row in found.rows} == {(m, p) for m in ("none", *PERSONAS) for p in ("none", "rich")}
    assert all(row["perplexity"] is None for row in found.rows)
    assert [row["masks"] for row in found.separation] == [list(PERSONAS)] * 6


def test_calibration_adds_the_controls_and_their_separations(tiny_model, masks, calibration):
    found = evaluate(tiny_model, masks, HELD, calibration=calibration, max_length=64, neutral_tokens=512, seed=3)
    names = list(dict.fromkeys(row["mask"] for row in found.rows))
    expected = ["random gain", "random loss", "magnitude", "neutral", "shuffled gain", "shuffled loss", "longer", "shorter"]
    assert names == ["none", *PERSONAS, *expected]
    pairs = dict.fromkeys(tuple(row["masks"]) for row in found.separation)
    assert list(pairs) == [PERSONAS, ("random gain", "random loss"), ("shuffled gain", "shuffled loss")]
    alone = Evaluator(tiny_model, hold(tiny_model, HELD, {}, "chat", 64), PERSONAS, None)
    alone.add("x", apply_mask(tiny_model.params, random_mask(tiny_model, masks["loss"], 4)))
    assert accuracy(found.rows, "random loss")["margin"] == pytest.approx(accuracy(alone.rows, "x")["margin"])


def test_controls_that_differ_in_their_budget_are_of_both_personas(tiny_model, masks, calibration):
    other = jp.discover(tiny_model, FOUND, jp.methods.Wanda(sparsity=0.25), personas=PERSONAS, max_length=64).masks
    uneven = {"gain": masks["gain"], "loss": other["loss"]}
    found = evaluate(tiny_model, uneven, HELD, calibration=calibration, max_length=64, neutral_tokens=0)
    names = {row["mask"] for row in found.rows}
    assert {"magnitude gain", "magnitude loss", "neutral gain", "neutral loss"} <= names and "magnitude" not in names
    margins = [accuracy(found.rows, f"magnitude {persona}")["margin"] for persona in PERSONAS]
    assert not np.isclose(*margins)
