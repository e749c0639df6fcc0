"""Answers that make no contrastive pair are told apart from those that do, each with its reason."""

import pytest

import jaxpersona as jp
from jaxpersona.calibration.answer_filter import fault_of
from jaxpersona.data.descriptions import Descriptions

DESCRIPTIONS = Descriptions("a cheerful optimist", "a gloomy pessimist")
GOOD, BAD = "Every morning brings something new to enjoy.", "The days drag on and nothing ever works out."


def fault(matching, not_matching, descriptions=DESCRIPTIONS):
    found = fault_of(jp.Pair("How are you?", matching, not_matching), descriptions)
    assert found == fault_of(jp.Pair("How are you?", not_matching, matching), descriptions)
    return found


def test_contrasting_answers_make_a_pair():
    assert fault(GOOD, BAD) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("Yes, indeed.", "empty"),
        ("... !? --", "empty"),
        ("As an AI language model, I have no feelings.", "refusal"),
        ("I\u2019m sorry, but I can't say.", "refusal"),
        ("I cannot answer questions of that kind.", "refusal"),
        ("Well, I am an artificial intelligence.", "refusal"),
        ("I like it. I like it. I like it. I like it.", "loop"),
        ("up and up and up and up and up", "loop"),
        ("What a cheerful life for an optimist like me!", "description"),
        ("I would call it OPTIMIST thinking, so cheerful!", "description"),
        ("A pessimist is gloomy by nature, they say.", "description"),
        ("Every morning brings something good to enjoy.", "similar"),
    ],
)
def test_each_fault_has_its_reason(answer, reason):
    assert fault(GOOD, answer) == reason


def test_a_word_of_a_description_is_allowed_unless_it_is_the_only_one():
    assert fault("I am cheerful in the morning, always.", BAD) is None
    assert fault("I am the optimist in this family.", BAD, Descriptions("an optimist", "a miser")) == "description"
    assert fault("A spy at work, that is me.", BAD, Descriptions("a spy", "an oaf")) == "description"
    assert fault("A day at work is fun.", BAD, Descriptions("a spy", "an oaf")) is None


def test_an_answer_may_not_quote_a_longer_sentence_of_a_description():
    told = Descriptions("You save. Money and profit guide your decisions.", "You spend.")
    assert fault("Money, profit and possessions guide your decisions.", BAD, told) == "description"
    assert fault("I save every week, and that is enough.", BAD, told) is None  # too short to be a quotation


def test_sorry_and_help_in_an_answer_are_no_refusal():
    assert fault("I feel sorry for those who stay in bed.", BAD) is None
    assert fault("I can't help smiling at strangers.", BAD) is None


def test_answers_in_other_scripts_are_compared_too():
    assert fault("人生 は とても 楽しい です", "毎日 が つらく 暗い です") is None
    assert fault("人生 は とても 楽しい です", "人生 は とても 暗い です") == "similar"
