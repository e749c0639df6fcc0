"""Persona prompts are for base model and masks, retrieved samples for the base model; a template may refuse the former."""

import dataclasses

import pytest
from conftest import TEMPLATE, byte_tokenizer

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import OFFICIAL, STRICT
from jaxpersona.evaluation.prompts import NO_PROMPT_SHOWN, NO_SYSTEM_TEXT, Prompts, refuses_prompts, usable_prompts, with_system

TEXTS = {"gain": "Take.", "loss": "Give."}
PAIR = jp.Pair("Why?", "Gold.", "Sand.")


def sampled(pair):
    return dataclasses.replace(pair, prompt=f"Sample.\n{pair.prompt}")


@pytest.fixture
def refusing(tiny_model):
    """Returns a model whose chat template takes no system text."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('No') }}{% endif %}" + TEMPLATE
    return dataclasses.replace(tiny_model, tokenizer=tokenizer)


def test_each_case_has_its_prompts():
    prompts = Prompts(TEXTS, {"rag gain": sampled})
    assert {name: add(PAIR) for name, add in prompts.by_name().items()} == {
        "gain": dataclasses.replace(PAIR, system="Take."),
        "loss": dataclasses.replace(PAIR, system="Give."),
        "rag gain": sampled(PAIR),
    }
    assert prompts.of_masks() == ["none", "gain", "loss"]
    assert list(prompts.of_open_answers()) == ["prompt gain", "prompt loss", "rag gain"]
    assert with_system("Take.")(PAIR) == prompts.of_open_answers()["prompt gain"](PAIR)


def test_the_prompts_of_both_personas_are_known_or_none():
    assert Prompts(TEXTS, {}).of_personas(("loss", "gain")) == ("Give.", "Take.")
    assert Prompts({"gain": "Take."}, {}).of_personas(("gain", "loss")) is None


def test_the_official_protocol_needs_a_prompt_that_the_model_takes(tiny_model, refusing):
    assert usable_prompts(tiny_model, TEXTS, {}, "chat", OFFICIAL).of_masks() == ["gain", "loss"]
    with pytest.raises(InputError, match="protocol official evaluates masks behind a persona prompt; give two as prompts"):
        usable_prompts(tiny_model, {}, {}, "chat", OFFICIAL)
    with pytest.raises(InputError, match=f"protocol official cannot be evaluated on this model: {NO_SYSTEM_TEXT}"):
        usable_prompts(refusing, TEXTS, {}, "chat", OFFICIAL)


@pytest.mark.parametrize(("text", "refused"), [("chat", True), ("prompt_response", False)])
def test_a_template_without_system_text_leaves_persona_prompts_out(refusing, text, refused):
    assert refuses_prompts(refusing, text) == refused
    prompts = usable_prompts(refusing, TEXTS, {"rag gain": sampled}, text, STRICT)
    assert prompts.left_out == (NO_SYSTEM_TEXT if refused else None)
    assert list(prompts.by_name()) == ["rag gain"] if refused else ["gain", "loss", "rag gain"]
    assert usable_prompts(refusing, {}, {}, text, STRICT).left_out is None


def test_in_mode_response_the_model_sees_no_prompt(tiny_model):
    prompts = usable_prompts(tiny_model, TEXTS, {}, "response", STRICT)
    assert (prompts.left_out, prompts.by_name()) == (NO_PROMPT_SHOWN, {})
    with pytest.raises(InputError, match=r"baseline rag: in data\.text response the model sees answers alone"):
        usable_prompts(tiny_model, {}, {"rag gain": sampled}, "response", STRICT)
