"""The persona of a request: names, mixtures, conditions on the prompt, and marks on messages."""

import types

import numpy as np
import pytest

from jaxpersona.models.model import ModelIdentity
from jaxpersona.serving.catalogue import Catalogue, Entry
from jaxpersona.serving.chat import take_conversation
from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.persona_spec import PersonaSpec, take_persona
from jaxpersona.serving.service import Service
from jaxpersona.serving.topics import Topic

CATALOGUE = Catalogue("base", [Entry("seek", "masks/seek", ("run/seek",)), Entry("reject", "masks/reject")])
SEEK, REJECT, BASE = PersonaSpec({"seek": 1.0}), PersonaSpec({"reject": 1.0}), PersonaSpec({})
MIX = PersonaSpec({"seek": 0.7, "reject": 0.3})
MONEY = {"if": "money", "then": "seek"}


def user(text, **marks):
    return {"role": "user", "content": text, **marks}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "seek"}, SEEK),
        ({"model": "base:run/seek"}, SEEK),
        ({"model": "base"}, BASE),
        ({"model": "0.7*seek+0.3*reject"}, MIX),
        ({"model": "base", "persona": {"mix": {"seek": 0.7, "reject": 0.3}}}, MIX),
        ({"model": "seek", "persona": {"gamma": 0.3}}, PersonaSpec({"seek": 1.0}, 0.3)),
        ({"model": "base", "persona": {**MONEY, "gamma": 0.3}}, PersonaSpec({"seek": 1.0}, 0.3, "money")),
        ({"model": "base", "persona": {**MONEY, "then": "0.7*seek+0.3*reject"}}, PersonaSpec(MIX.shares, 0.0, "money")),
    ],
)
def test_a_request_says_which_persona_answers(body, expected):
    assert take_persona(Fields(body), CATALOGUE) == expected


@pytest.mark.parametrize(
    ("persona", "param", "message"),
    [
        ({"if": "money"}, "persona.if", "belong together"),
        ({"then": "seek"}, "persona.if", "belong together"),
        ({**MONEY, "mix": {"seek": 1}}, "persona.then", "both name personas"),
        ({**MONEY, "then": "sek"}, "persona.then", "did you mean 'seek'"),
        ({**MONEY, "if": 3}, "persona.if", "give a text"),
        ({**MONEY, "else": "reject"}, "persona.else", "unknown"),
        ({**MONEY, "gamma": 1}, "persona.gamma", r"\[0, 1\)"),
        ({"mix": {"seek": "much"}}, "persona.mix", "give a number"),
        ({"gamma": 0.2}, "persona.gamma", "without a persona"),
    ],
)
def test_contradictions_are_refused_by_name(persona, param, message):
    with pytest.raises(ApiError, match=message) as refused:
        take_persona(Fields({"model": "base", "persona": persona}), CATALOGUE)
    assert refused.value.param == param


def test_a_condition_and_a_model_that_is_a_persona_contradict_each_other():
    with pytest.raises(ApiError, match="both name personas"):
        take_persona(Fields({"model": "reject", "persona": MONEY}), CATALOGUE)


def test_names_are_what_a_request_would_give_as_model():
    for spec in (SEEK, MIX, BASE, PersonaSpec({"seek": 0.5})):
        assert take_persona(Fields({"model": spec.name("base")}), CATALOGUE) == spec


@pytest.fixture
def service(engine_of_words):
    """Returns a service with one topic, money: prompts with a dollar sign."""
    odds = np.zeros(272, np.float32)
    odds[engine_of_words.tokenizer.encode("$", add_special_tokens=False)] = 100
    money = Topic("money", np.ones(272, np.float32), odds, -1.0, {})
    return Service(engine_of_words, CATALOGUE, ModelIdentity("words", "", None), topics={"money": money})


@pytest.fixture
def engine_of_words(tiny_model):
    """Returns what stands in for the engine where only its tokenizer is used."""

    tokenizer = tiny_model.tokenizer
    return types.SimpleNamespace(tokenizer=tokenizer, engine=types.SimpleNamespace(tokenizer=tokenizer, max_length=192))


def answering(service, messages, persona=None, model="base"):
    body = {"model": model, "messages": messages, **({"persona": persona} if persona else {})}
    return take_conversation(Fields(body), service)[0]


def test_a_condition_is_about_the_last_message_of_the_user(service):
    before = [user("5 $?"), {"role": "assistant", "content": "$$"}]
    assert answering(service, [user("5 $?")], MONEY) == SEEK
    assert answering(service, [*before, user("And tea?")], MONEY) == BASE
    assert answering(service, [*before, user("$")], {**MONEY, "gamma": 0.5}) == PersonaSpec({"seek": 1.0}, 0.5)


def test_the_last_mark_decides_and_turns_without_one_keep_it(service):
    marked = [user("Hi", persona="seek"), {"role": "assistant", "content": "Yes"}]
    assert answering(service, [*marked, user("More")]) == SEEK
    assert answering(service, [*marked, user("More", persona="reject")], model="seek") == REJECT
    assert answering(service, [*marked, user("More", persona="base")], model="reject") == BASE
    mixed = user("More", persona={"mix": {"seek": 0.7, "reject": 0.3}, "gamma": 0.1})
    assert answering(service, [*marked, mixed]) == PersonaSpec(MIX.shares, 0.1)
    assert answering(service, [*marked, user("Tea?", persona=MONEY)]) == BASE
    assert answering(service, [user("Tea?")], model="seek") == SEEK


@pytest.mark.parametrize(
    ("messages", "param", "message"),
    [
        ([user("Hi", persona="sek")], "messages[0].persona", "did you mean 'seek'"),
        ([user("Hi", persona=3)], "messages[0].persona", "no text and no object"),
        ([user("Hi"), {"role": "assistant", "content": "I say"}], "messages", "the last message is the assistant's"),
        ([user("Hi"), user("Hi", persona={"gama": 0.1})], "messages[1].persona.gama", "did you mean 'gamma'"),
        ([user("Hi", persona={"if": "tea", "then": "seek"})], "messages[0].persona.if", "topics: money"),
    ],
)
def test_wrong_marks_are_refused_by_name(service, messages, param, message):
    with pytest.raises(ApiError, match=message) as refused:
        answering(service, messages)
    assert refused.value.param == param


def test_without_conditions_the_server_says_how_to_have_them(engine_of_words):
    with pytest.raises(ApiError, match="--conditions true"):
        answering(Service(engine_of_words, CATALOGUE, ModelIdentity("words", "", None)), [user("Hi")], MONEY)
