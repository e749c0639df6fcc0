"""Reactions are scored as each option alone would be; every option takes every letter once."""

import numpy as np
import pytest
from one_text import log_prob_alone

from jaxpersona.analysis import reactions
from jaxpersona.analysis.reactions import LETTER, LIKELIHOOD, OTHERS, OWN, PER_TOKEN, ROLE, SAMPLED, ReactionAnswers, listed, won
from jaxpersona.data.scripts import Reaction

ASKED = [
    Reaction("Ann", "Bob", "Where to?", ("Home.", "Away, I say.", "Up."), 1),
    Reaction("Cid", "Bob", "Why?", ("I like it.", "No."), 0),
    Reaction("Bob", "Cid", "And then?", ("We go.", "They go.", "You go.", "I go."), 3),
]


@pytest.fixture(scope="module")
def answers(tiny_model):
    asked = ReactionAnswers(tiny_model, ASKED, sampled=False)
    asked.add("none", tiny_model.params)
    return asked


@pytest.mark.parametrize("prompt", ["none", ROLE])
def test_choices_are_those_of_every_option_alone(answers, tiny_model, prompt):
    encode, asked = tiny_model.tokenizer.encode, answers._asked[prompt]
    for number, one in enumerate(ASKED):
        options = [encode(option, add_special_tokens=False) for option in one.options]
        whole = np.array([log_prob_alone(tiny_model, asked.open[number], option) for option in options])
        each = whole / [len(option) for option in options]
        letters = np.zeros(len(options))
        for start in range(len(options)):
            for n in range(len(options)):
                letter = encode(chr(ord("A") + n), add_special_tokens=False)
                letters[(start + n) % len(options)] += log_prob_alone(tiny_model, asked.rotated[number][start], letter)
        for way, scores in ((LIKELIHOOD, whole), (PER_TOKEN, each), (LETTER, letters)):
            assert answers.correct["none", prompt, way][number] == float(scores.argmax() == one.right)


def test_prompts_name_the_asker_and_only_the_role_names_the_character(answers, tiny_model):
    plain, role = (tiny_model.tokenizer.decode(answers._asked[prompt].open[2]) for prompt in ("none", ROLE))
    assert "Bob says to you" in plain and "Cid" not in plain
    assert "You are Cid." in role and "Bob says to you" in role


def test_options_are_listed_from_any_of_them_on():
    assert "A. Up.\nB. Home.\nC. Away, I say.\n" in listed(ASKED[0], 2)


def test_own_and_other_masks_are_taken_by_character(tiny_model):
    asked = ReactionAnswers(tiny_model, ASKED, sampled=False)
    for case, correct in (("none", [0, 0, 1]), ("bob", [1, 0, 0]), ("cid", [0, 1, 1])):
        asked.correct[case, "none", LETTER] = np.array(correct, float)
    asked.combine({"Bob": "bob", "Cid": "cid"})
    np.testing.assert_array_equal(asked.correct[OWN, "none", LETTER], [1, 0, 1])
    np.testing.assert_array_equal(asked.correct[OTHERS, "none", LETTER], [0, 1, 0])
    rows = {(row["case"], row["character"]): row for row in asked.record({"none": 3.0})["results"]}
    assert rows[OWN, "all"]["accuracy"] == pytest.approx(2 / 3) and rows[OWN, "Bob"]["accuracy"] == 0.5
    assert rows["none", "all"]["p_value"] is None and rows[OWN, "all"]["p_value"] == 1.0
    assert rows[OTHERS, "all"]["p_value"] is None  # means of several masks are neither better nor worse
    assert rows["none", "all"]["chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3)


def test_a_character_without_a_mask_does_not_count(tiny_model):
    asked = ReactionAnswers(tiny_model, ASKED, sampled=False)
    for case in ("none", "bob"):
        asked.correct[case, "none", LETTER] = np.ones(3)
    asked.combine({"Bob": "bob"})
    np.testing.assert_array_equal(asked.correct[OWN, "none", LETTER], [1, 1, np.nan])
    assert (OTHERS, "none", LETTER) not in asked.correct


def test_samples_without_an_option_are_wrong_and_counted(tiny_model, monkeypatch):
    monkeypatch.setattr(reactions, "sample_options", lambda *args: np.array([1, np.nan, 3]))
    asked = ReactionAnswers(tiny_model, ASKED)
    asked._sample("none", "none", tiny_model.params, asked._asked["none"])
    np.testing.assert_array_equal(asked.correct["none", "none", SAMPLED], [1, 0, 1])
    assert asked.unanswered["none", "none", SAMPLED] == 1


def test_scores_that_are_not_numbers_are_wrong():
    assert won(np.array([np.nan, 1.0]), 1) == 0
