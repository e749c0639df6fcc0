"""Chats over HTTP say what the engine says, whole and in pieces; wrong fields are named."""

import json

import openai
import pytest
from serving.conftest import fetch

from jaxpersona.inference.requests import Request

NEW = 6
HI = [{"role": "user", "content": "Hi"}]


def expected(alone, name):
    [answer] = alone.generate([Request("Hi", name, max_new_tokens=NEW)])
    return answer.text


@pytest.mark.parametrize("name", ["a", "tiny:b", "tiny"])
def test_an_answer_is_the_personas(client, alone, name):
    answer = client.chat.completions.create(model=name, messages=HI, max_tokens=NEW, temperature=0)
    assert answer.choices[0].message.content == expected(alone, name.removeprefix("tiny:") if name != "tiny" else None)
    assert (answer.model, answer.choices[0].finish_reason) == (name, "length")
    assert answer.usage.completion_tokens == NEW


def test_a_stream_has_the_same_text_and_ends_with_usage(client, alone):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model="a", messages=HI, max_tokens=NEW, temperature=0, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == expected(alone, "a")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], NEW)


def test_an_unknown_model_is_404_and_names_those_there_are(client):
    with pytest.raises(openai.NotFoundError, match=r"model 'd' is unknown; models: tiny, a, b, c"):
        client.chat.completions.create(model="d", messages=HI)


@pytest.mark.parametrize(
    ("wrong", "param", "message"),
    [
        ({"model": ""}, "model", "model is missing; give 'tiny' or a persona"),
        ({"model": 3}, "model", "model is 3; give a text"),
        ({"temprature": 1}, "temprature", "did you mean 'temperature'"),
        ({"temperature": -1}, "temperature", "temperature is -1"),
        ({"top_logprobs": 2}, "top_logprobs", "set logprobs to true"),
        ({"messages": []}, "messages", "messages is missing or empty"),
        ({"messages": [3]}, "messages[0]", "messages[0] is not an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "role is 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "not text"),
        ({"messages": [{"role": "user", "content": "x" * 400}]}, "messages", "messages has 4"),
        ({"max_tokens": 500}, "max_tokens", "max_tokens is 500, but the prompt has"),
        ({"stop": "x<|im_end|>"}, "stop", "can never match"),
        ({"persona": {"gamma": 1}}, "persona.gamma", "gamma is 1"),
        ({"model": "tiny", "persona": {"mix": {"a": 2}}}, "persona", "the share of persona 'a' is 2.0"),
    ],
)
def test_a_wrong_field_is_named(address, wrong, param, message):
    body = {"model": "a", "messages": HI, "max_tokens": 2, **wrong}
    status, _, text = fetch(f"{address}/v1/chat/completions", body)
    error = json.loads(text)["error"]
    assert (status, error["param"]) == (400, param) and message in error["message"]
