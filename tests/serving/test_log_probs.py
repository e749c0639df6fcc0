"""Log-probabilities have the two shapes of OpenAI's API; offsets count the characters of the text."""

import pytest

from jaxpersona.inference.token_scores import TokenScore
from jaxpersona.serving.log_probs import chat_log_probs, offsets_of, text_log_probs
from jaxpersona.serving.token_texts import TokenTexts

TEXT = "Z\u00e9\u20ac."


@pytest.fixture
def texts(tiny_model):
    return TokenTexts(tiny_model.tokenizer)


@pytest.fixture
def ids(tiny_model):
    """Returns the tokens of ``TEXT``, which are its bytes."""
    return tiny_model.tokenizer.encode(TEXT, add_special_tokens=False)


def test_chats_list_each_token_with_its_bytes_and_alternatives(texts, ids):
    found = chat_log_probs(texts, [TokenScore(ids[0], -0.5, ((ids[1], -0.25), (ids[0], -0.5)))])
    z, first_byte = {"token": "Z", "bytes": [90]}, {"token": "bytes:\\xc3", "bytes": [0xC3]}
    tops = [{**first_byte, "logprob": -0.25}, {**z, "logprob": -0.5}]
    assert found == {"content": [{**z, "logprob": -0.5, "top_logprobs": tops}], "refusal": None}


def test_texts_list_tokens_and_the_chosen_one_among_the_alternatives(texts, ids):
    score = TokenScore(ids[6], -3.0, ((ids[0], -0.1),))
    found = text_log_probs(texts, [ids[0], ids[6]], [None, score], [0, 1])
    assert found == {
        "tokens": ["Z", "."],
        "token_logprobs": [None, -3.0],
        "top_logprobs": [None, {"Z": -0.1, ".": -3.0}],
        "text_offset": [0, 1],
    }


def test_offsets_are_those_of_characters_whose_last_byte_has_come(texts, ids):
    offsets, end = offsets_of(texts, ids, 10, [False] * 7)
    assert offsets == [10, 11, 11, 12, 12, 12, 13] and end == 10 + len(TEXT)
    assert offsets_of(texts, ids[:1] * 3, 0, [False, True, False]) == ([0, 1, 1], 2)


def test_the_space_that_a_text_does_not_show_is_not_counted(texts, tiny_model):
    spaced = tiny_model.tokenizer.encode("  a b", add_special_tokens=False)
    assert offsets_of(texts, spaced, 0, [False] * 5) == ([0, 1, 2, 3, 4], 5)
    assert offsets_of(texts, spaced, 0, [False] * 5, spaced=False) == ([0, 0, 1, 2, 3], 4)
    assert offsets_of(texts, spaced[2:], 0, [True, False, False], spaced=False) == ([0, 0, 0], 1)
