"""The panel's tables show its numbers in points, the cases of either persona, and what is left out."""

import pytest
from rich.console import Console

from jaxpersona.reporting.panel_tables import print_panel


def case(mask, persona, **changes):
    values = {
        "overall": 0.5,
        "trait": 0.61,
        "relevance": 0.7,
        "fluency": 0.8,
        "ci95": [0.4, 0.61],
        "loops": 2,
        "ended": 3,
        "n": 9,
    }
    return {"mask": mask, "persona": persona, **values, **changes}


@pytest.fixture
def panel():
    unknown = {"overall": None, "trait": None, "ci95": None, "n": 0}
    results = [case(mask, persona) for mask in ("none", "gain", "rag loss", "[b]") for persona in ("gain", "loss")]
    results.append(case("mute", "gain", **unknown))
    agreement = {"members": ["words", "prompts"], "n": 8, "agreement": 0.75, "ci95": [0.5, 1.0]}
    return {
        "members": [
            {"part": "trait", "member": "words", "about": "TF-IDF"},
            {"part": "fluency", "member": "ended", "about": "one"},
        ],
        "left_out": {"trait embeddings": "the package is [not] installed"},
        "labels": [{"member": "words", "n": 8, "accuracy": 0.875, "ci95": [0.5, 0.98]}],
        "agreement_held_out": [agreement],
        "agreement_open": [{**agreement, "n": 0, "agreement": None, "ci95": None}],
        "results": results,
        "comparisons": [{"persona": "gain", "cases": ["gain", "none"], "n": 9, "difference": 0.123, "ci95": [-0.05, 0.3]}],
    }


def printed(capsys, panel):
    print_panel(Console(markup=False, emoji=False, width=160), panel, ("gain", "loss"))
    return capsys.readouterr().out


def test_numbers_are_points_of_the_personas_that_a_case_may_stand_for(capsys, panel):
    out = printed(capsys, panel)
    lines = [line.split() for line in out.splitlines()]
    numbers = ["50.0", "40-61", "61.0", "70.0", "80.0", "2", "3"]
    for mask, persona in (("none", "gain"), ("none", "loss"), ("gain", "gain"), ("[b]", "gain"), ("[b]", "loss")):
        assert [mask, persona, *numbers] in lines
    assert ["rag", "loss", "loss", *numbers] in lines and ["rag", "loss", "gain", *numbers] not in lines
    assert ["gain", "loss", *numbers] not in lines
    assert ["mute", "gain", "70.0", "80.0", "2", "3"] in lines


def test_comparisons_members_and_what_is_left_out_are_told(capsys, panel):
    out = printed(capsys, panel)
    assert "Panel, as gain: gain minus none: +12.3 points (95 %: -5.0 to +30.0)" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["words", "88%", "[50-98]"] in lines and ["words", "and", "prompts", "75%", "[50-100]"] in lines
    assert "words: TF-IDF" in out and "ended: one" not in out
    assert "Panel, left out: trait embeddings, because the package is [not] installed" in out


def test_a_panel_without_trait_members_has_no_table_of_them(capsys, panel):
    out = printed(capsys, panel | {"labels": [], "agreement_held_out": [], "agreement_open": []})
    assert "Members that judge the trait" not in out
