"""The rows that answer the main question are those without a prompt, or behind the persona's own if there are no others."""

import pytest
from evaluation_record import evaluation_record, separation

from jaxpersona.evaluation.main_rows import main_rows, main_separations, perplexity_increase, worst_increase


def test_rows_are_by_mask_without_a_prompt():
    rows = main_rows(evaluation_record(), "loss")
    assert list(rows) == ["none", "gain", "loss", "random gain", "random loss", "longer"]
    assert {(row["prompt"], row["scoring"], row["persona"]) for row in rows.values()} == {("none", "sum", "loss")}
    assert rows["loss"]["accuracy"] == 0.75


def test_masks_that_stand_only_behind_prompts_have_the_row_of_their_own():
    record = evaluation_record()
    for row in record["results"]:
        if row["mask"] in ("gain", "loss"):
            row["prompt"] = "gain"
    record["results"] += [{**row, "prompt": "loss", "accuracy": 0.9} for row in record["results"] if row["mask"] == "loss"]
    assert main_rows(record, "loss")["loss"]["accuracy"] == 0.9
    record["results"] += [{**row, "prompt": "gain", "accuracy": 0.8} for row in record["results"] if row["mask"] == "none"]
    rows = main_rows(record, "gain")
    assert rows["gain"]["prompt"] == rows["none"]["prompt"] == "gain" and rows["none"]["accuracy"] == 0.8
    record["separation"] = [
        separation("gain", "loss", value, [0, 1], prompt=prompt) for value, prompt in ((0.3, "gain"), (0.2, "loss"))
    ]
    assert [row["separation"] for row in main_separations(record)] == [0.3]


def test_each_pair_of_opposites_has_one_separation():
    found = main_separations(evaluation_record())
    assert [(row["masks"], row["separation"]) for row in found] == [
        (["gain", "loss"], 0.5),
        (["random gain", "random loss"], -0.05),
    ]


def test_damage_is_the_larger_of_two_increases():
    record = evaluation_record()
    rows = main_rows(record, "gain")
    assert perplexity_increase(rows["gain"], rows["none"]) == pytest.approx(0.02)
    assert [worst_increase(row, rows) for row in main_separations(record)] == pytest.approx([0.02, 1.2])
    assert perplexity_increase(rows["longer"], rows["none"]) is None
    rows["loss"] = {**rows["loss"], "perplexity": None}  # as of a mask that breaks the model
    assert worst_increase(main_separations(record)[0], rows) is None
    del rows["none"]
    assert worst_increase(main_separations(record)[0], rows) is None
