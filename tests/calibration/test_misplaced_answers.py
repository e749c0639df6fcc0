"""Answers are put behind themselves, and behind the question of another pair."""

import dataclasses

import pytest

import jaxpersona as jp
from jaxpersona.calibration.misplaced_answers import misplaced_answers
from jaxpersona.data.text import tokenize_pair


@pytest.fixture
def tokenized(tiny_model, pairs):
    return [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]


def test_answers_are_said_again_and_given_to_other_questions(tiny_model, pairs, tokenized):
    read = tiny_model.tokenizer.decode
    again, elsewhere = misplaced_answers(tiny_model, tokenized)
    answers = [answer for pair in pairs for answer in (pair.matching, pair.not_matching)][:32]
    questions = [pair.prompt for pair in pairs for _ in range(2)][:32]
    assert len(again) == len(elsewhere) == len(answers)
    for question, answer, first, second in zip(questions, answers, again, elsewhere, strict=True):
        assert read(first.prefix + first.matching).endswith(f"{answer} {answer}")
        assert read(first.matching) == f" {answer}"
        assert question in read(first.prefix)
        assert read(second.matching) == answer
        assert question not in read(second.prefix)
        assert any(pair.prompt in read(second.prefix) for pair in pairs)


def test_where_questions_repeat_answers_belong_to_all_of_them(tiny_model, pairs):
    same = [tokenize_pair(tiny_model.tokenizer, dataclasses.replace(pair, prompt="What do you say?")) for pair in pairs]
    assert len(misplaced_answers(tiny_model, same)) == len(misplaced_answers(tiny_model, same[:1])) == 1


def test_texts_are_cut_at_the_models_positions(tiny_model, tokenized):
    room = max(len(pair.prefix) + max(len(pair.matching), len(pair.not_matching)) for pair in tokenized) + 1
    small = dataclasses.replace(tiny_model, config=dataclasses.replace(tiny_model.config, max_positions=room))
    assert all(len(text) <= room for kind in misplaced_answers(small, tokenized) for text in kind)


def test_where_no_answer_fits_twice_that_is_said(tiny_model, tokenized):
    small = dataclasses.replace(tiny_model, config=dataclasses.replace(tiny_model.config, max_positions=2))
    with pytest.raises(jp.InputError, match=r"no answer of the first \d+ pairs fits twice into the model's 2 positions; lower"):
        misplaced_answers(small, tokenized)
