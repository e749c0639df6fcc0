"""Answers under descriptions are the model's own, resume where they were stopped, and end with whole sentences."""

import dataclasses

import pytest
from conftest import byte_tokenizer, recorded

import jaxpersona as jp
from jaxpersona.calibration import described_answers
from jaxpersona.calibration.described_answers import answer_all, described_prompts, whole_sentences
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.descriptions import Descriptions
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.guidance import Guidance
from jaxpersona.models.sampling import Sampling

DESCRIPTIONS = Descriptions("a miser", "a spendthrift")
QUESTIONS = ["What now?", "Why?", "How much?"]


def with_template(model, template):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return dataclasses.replace(model, tokenizer=tokenizer)


def texts(model, text="chat"):
    return [model.tokenizer.decode(ids) for ids in described_prompts(model, DESCRIPTIONS, QUESTIONS, text)]


def test_a_chat_has_the_description_as_system_text(tiny_model):
    found = texts(tiny_model)
    assert len(found) == 6
    for number, prompt in enumerate(found):
        system, user = prompt.split("<|im_end|>")[:2]
        assert system.startswith(f"<s><|im_start|>system\nYou are {('a miser', 'a spendthrift')[number % 2]}.")
        assert user == f"\n<|im_start|>user\n{QUESTIONS[number // 2]}"
        assert prompt.endswith("<|im_start|>assistant\n")


def test_where_the_template_takes_no_system_text_it_is_in_the_question(tiny_model):
    model = with_template(
        tiny_model,
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "<s>{{ m.role }}: {{ m.content }}{% endfor %}",
    )
    found = texts(model)
    assert found[1].startswith("<s>user: You are a spendthrift.") and found[1].endswith("\n\nWhat now?")


def test_without_a_template_the_description_is_before_the_question(tiny_model):
    model = with_template(tiny_model, None)
    found = texts(model, "prompt_response")
    assert found[4].startswith("<s>You are a miser.") and found[4].endswith("\n\nQuestion: How much?\nAnswer:")
    with pytest.raises(InputError, match=r"the model has no chat template; use --data.text prompt_response"):
        texts(model)


def test_a_description_that_leaves_no_room_is_refused(tiny_model):
    with pytest.raises(InputError, match=r"a prompt has \d+ tokens and an answer 48, the model has 512 positions; shorten"):
        described_prompts(tiny_model, Descriptions("a miser " * 60, "b"), QUESTIONS, "chat")


def test_without_guidance_answers_are_those_of_the_model_under_the_prompt(tiny_model, monkeypatch):
    monkeypatch.setattr(described_answers, "SAMPLING", Sampling())
    monkeypatch.setattr(described_answers, "GUIDANCE", Guidance(0.0, 1.0))
    prompts = described_prompts(tiny_model, DESCRIPTIONS, QUESTIONS[1:2], "chat")
    found = answer_all(tiny_model, prompts, "chat", 1, QUIET)
    assert len(found) == 2
    for number, answer in enumerate(found):
        system = DESCRIPTIONS.system_texts[number]
        alone = jp.generate(tiny_model, [QUESTIONS[1]], system=system, max_new_tokens=48)[0]
        assert answer == whole_sentences(alone)


def test_answers_are_guided_away_from_the_other_description(tiny_model, monkeypatch):
    monkeypatch.setattr(described_answers, "SAMPLING", Sampling())
    prompts = described_prompts(tiny_model, DESCRIPTIONS, QUESTIONS[1:2], "chat")
    found = answer_all(tiny_model, prompts, "chat", 1, QUIET)
    for own, other, answer in zip(prompts, prompts[::-1], found, strict=True):
        guided = {"numbers": [0, 0], "guidance": described_answers.GUIDANCE}
        ids, _ = generate_ids(tiny_model, tiny_model.params, [own, other], 48, Sampling(), **guided)
        assert answer == whole_sentences(tiny_model.tokenizer.decode(ids, skip_special_tokens=True))


def test_answers_depend_on_the_seed_and_differ_between_repeats(tiny_model, monkeypatch):
    monkeypatch.setattr(described_answers, "_BATCH", 4)
    endless = dataclasses.replace(tiny_model, eos_ids=())
    prompts = described_prompts(endless, DESCRIPTIONS, QUESTIONS[:1] * 3, "chat")
    first, again, other = (answer_all(endless, prompts, "chat", seed, QUIET) for seed in (1, 1, 2))
    assert first == again and first != other
    assert len({*first[::2]}) == 3


def test_stopped_answers_resume(tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr(described_answers, "_BATCH", 2)
    prompts = described_prompts(tiny_model, DESCRIPTIONS, QUESTIONS, "chat")
    stage, steps = recorded()
    whole = answer_all(tiny_model, prompts, "chat", 1, stage)
    assert steps == [(0, 6), (2, 6), (4, 6), (6, 6)]
    generate, calls = described_answers.generate_ids, []

    def stop_at_the_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*args)

    monkeypatch.setattr(described_answers, "generate_ids", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        answer_all(tiny_model, prompts, "chat", 1, Stage(store=CheckpointFolder(tmp_path, 0.0), name="answers"))
    assert answer_all(tiny_model, prompts, "chat", 1, Stage(store=CheckpointFolder(tmp_path, 0.0), name="answers")) == whole
    assert len(calls) == 4
    assert answer_all(tiny_model, prompts, "chat", 1, Stage(store=CheckpointFolder(tmp_path, 0.0), name="answers")) == whole
    assert len(calls) == 4


def test_without_a_template_an_answer_is_one_line(tiny_model, monkeypatch):
    ids = tiny_model.tokenizer.encode("\n I save it. Always.\nQuestion: Why?\nAnswer: No.", add_special_tokens=False)
    monkeypatch.setattr(described_answers, "generate_ids", lambda model, params, prompts, *args: [ids] * len(prompts))
    prompts = described_prompts(tiny_model, DESCRIPTIONS, QUESTIONS[:1], "prompt_response")
    assert answer_all(tiny_model, prompts, "prompt_response", 1, QUIET) == ["I save it. Always."] * 2


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One. Two! Three", "One. Two!"),
        ("One.\n\nTwo? And", "One.\n\nTwo?"),
        ('He said "Go." and', 'He said "Go."'),
        ("no end at all", "no end at all"),
        ("  Done.  ", "Done."),
        ("", ""),
    ],
)
def test_cut_sentences_are_left_out(text, whole):
    assert whole_sentences(text) == whole
