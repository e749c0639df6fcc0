"""Options of a request become the engine's requests; those that are out of range or not supported are refused."""

import pytest

from jaxpersona.models.sampling import Sampling
from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.options import take_alternatives, take_options
from jaxpersona.serving.persona_spec import PersonaSpec


def test_every_choice_draws_with_a_seed_of_its_own():
    body = {"temperature": 0.5, "top_k": 3, "stop": "!", "n": 3, "seed": 2**32 - 2}
    options = take_options(Fields(body))
    requests = options.requests([1, 2], PersonaSpec({"a": 1.0}, 0.25), 7, alternatives=2)
    assert [request.seed for request in requests] == [2**32 - 2, 2**32 - 1, 0]
    for request in requests:
        assert (request.prompt, request.max_new_tokens, request.gamma, request.alternatives) == ([1, 2], 7, 0.25, 2)
        assert (request.sampling, request.stop) == (Sampling(0.5, top_k=3), ["!"])
        assert dict(request.persona_shares) == {"a": 1.0}


def test_defaults_are_those_of_openai():
    options = take_options(Fields({}))
    assert (options.sampling, options.stop, options.choices, options.stream) == (Sampling(1.0), [], 1, False)
    assert take_options(Fields({})).seed != options.seed


def test_a_stream_may_end_with_the_numbers_of_tokens():
    options = take_options(Fields({"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}))
    assert (options.stream, options.include_usage) == (True, True)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"temperature": -1}, "temperature", "temperature is -1"),
        ({"top_p": 0}, "top_p", "top_p is 0"),
        ({"seed": -1}, "seed", "seed is -1"),
        ({"n": 0}, "n", "n is 0; it must lie in 1 to 128"),
        ({"stop": [""]}, "stop", "not empty"),
        ({"stop": ["x"] * 17}, "stop", "stop has 17 texts; give at most 16"),
        ({"stop": 3}, "stop", "stop is not a text"),
        ({"stream": "yes"}, "stream", "stream is 'yes'; give true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "without stream"),
        (
            {"stream": True, "stream_options": {"include_usge": True}},
            "stream_options.include_usge",
            "did you mean 'include_usage'",
        ),
        ({"tools": [{"type": "function"}]}, "tools", "does not support it"),
        ({"response_format": {"type": "json_object"}}, "response_format", "does not support it"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "does not support it"),
    ],
)
def test_what_is_wrong_is_named(body, param, message):
    with pytest.raises(ApiError, match=message) as refused:
        take_options(Fields(body))
    assert (refused.value.status, refused.value.param) == (400, param)


def test_neutral_values_of_what_is_not_supported_are_accepted():
    neutral = {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "logit_bias": {}, "presence_penalty": 0}
    fields = Fields({**neutral, "frequency_penalty": 0.0, "user": "me", "top_k": 0, "stop": None})
    take_options(fields)
    fields.finish()


def test_alternatives_are_0_to_20():
    assert [take_alternatives(Fields(body), "logprobs") for body in ({}, {"logprobs": 20})] == [0, 20]
    with pytest.raises(ApiError, match="logprobs is 21; it must lie in 0 to 20"):
        take_alternatives(Fields({"logprobs": 21}), "logprobs")
