"""The tokenizer's addresses answer as lm-eval's remote tokenizer expects."""

import json

import pytest
from serving.conftest import fetch


@pytest.fixture(scope="module")
def ask(address):
    """Returns a function to the status and the body of an answer."""

    def ask(path, body=None):
        status, _, text = fetch(f"{address}{path}", body)
        return status, json.loads(text)

    return ask


def test_tokens_go_there_and_back(ask, model):
    text = "caf\u00e9 \u2014 1"
    _, found = ask("/tokenize", {"prompt": text, "add_special_tokens": False, "return_token_strs": True})
    assert found["tokens"] == model.tokenizer.encode(text, add_special_tokens=False)
    assert (found["count"], found["max_model_len"]) == (len(found["tokens"]), 192)
    assert found["token_strs"][:4] == ["c", "a", "f", "bytes:\\xc3"]
    assert ask("/detokenize", {"tokens": found["tokens"]}) == (200, {"prompt": text})
    with_bos = ask("/tokenize", {"prompt": "Hi", "model": "a"})[1]["tokens"]
    assert with_bos == model.tokenizer.encode("Hi") and with_bos[0] == model.tokenizer.bos_token_id


def test_messages_are_tokenized_up_to_the_answer(ask, model):
    found = ask("/tokenize", {"messages": [{"role": "user", "content": "Hi"}]})[1]["tokens"]
    assert model.tokenizer.decode(found) == "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_tokenizer_is_described(ask, model):
    _, found = ask("/tokenizer_info")
    assert (found["bos_token"], found["eos_token"]) == ("<s>", "<|im_end|>")
    assert found["chat_template"] == model.tokenizer.chat_template


@pytest.mark.parametrize(
    ("body", "param"), [({"tokens": [1, "a"]}, "tokens"), ({"tokens": [-1]}, "tokens"), ({"x": 1}, "x"), ({}, "tokens")]
)
def test_what_is_wrong_is_named(ask, body, param):
    status, answer = ask("/detokenize", body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert ask("/tokenize", {})[1]["error"]["message"] == "prompt and messages are missing; give one"
