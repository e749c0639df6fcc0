"""Answers stand side by side, not too many, with what their judge says."""

from parsed_page import Page

from jaxpersona.reporting.page.answer_section import MOST, answer_sections
from jaxpersona.reporting.page.blocks import Missing
from jaxpersona.reporting.page.render import render
from jaxpersona.reporting.page.run_files import RunFiles


def test_many_questions_are_cut_with_a_note(record):
    answers = [{"mask": "gain", "question": f"Question {number}?", "answer": ""} for number in range(11)]
    text = render(RunFiles("runs/x", record, None, answers))
    assert "8 of 11 questions are shown; answers.jsonl has the rest." in text
    assert "Held-out questions are drawn at random" in text and "configuration" not in text
    assert "Question 7?" in text and "Question 8?" not in text and "(no words)" in text


def test_open_answers_are_judged_in_a_table(files):
    judged = {"mask": "gain", "persona": "gain", "n": 4, "share": 0.75, "ci95": [0.3, 0.95], "perplexity_under_base": 5.5}
    row = {**judged, "repeated_3grams": 0.125, "mean_tokens": 40.0, "empty": 0}
    files.evaluation["open_ended"] = {"questions": 4, "judge": {"accuracy": 0.9, "n": 120}, "results": [row]}
    text = render(files)
    assert ["gain", "75.0 %", "30.0 to 95.0", "5.5", "12.5 %", "40.0"] in Page(text).rows
    assert "share of the 4 answers" in text and "90.0\N{NO-BREAK SPACE}% of 120 held-out answers" in text


def test_answers_of_base_and_masks_stand_beside_each_other_and_controls_do_not(files):
    files.answers.append({"mask": "random gain", "question": "Why?", "answer": "Because."})
    (section,) = answer_sections(files)
    (answers,) = section.blocks
    assert (answers.question, len(section.blocks) <= MOST) == ("Why?", True)
    assert [label for label, _, _ in answers.answers] == ["base model", "gain", "loss"]
    assert len({look for _, look, _ in answers.answers}) == 3


def test_a_question_of_the_configuration_is_not_called_drawn(record):
    asked = [{"mask": mask, "question": "Mine?", "answer": "Yes."} for mask in ("none", "gain")]
    section, missing = answer_sections(RunFiles("runs/x", {**record, "answers": asked}))
    assert "The first question is the one of the run's configuration." in section.text and "random" not in section.text
    assert isinstance(missing, Missing)


def test_without_answers_there_is_the_command_that_makes_them(record):
    (missing,) = answer_sections(RunFiles("runs/x", record))
    assert isinstance(missing, Missing) and missing.command.endswith("jaxpersona.evaluate --run runs/x --open_ended 20")
