"""Requests and their text: shares in order, pieces of whole characters, stop strings that may come in parts."""

import pytest
from conftest import byte_tokenizer
from transformers import PreTrainedTokenizerFast

from jaxpersona.core.errors import InputError
from jaxpersona.inference.requests import Generation, Request, continuation
from jaxpersona.models.sentencepiece import sentencepiece_bpe


@pytest.fixture(scope="module")
def sentencepiece():
    """Returns a tokenizer as Llama 2's: it puts a space before every text, and leaves it out of what it decodes."""
    words = ["<unk>", "<s>", "</s>", "▁", *"isbet"]
    kinds, scores = [2, 3, 3] + [1] * (len(words) - 3), [0.0] * len(words)
    backend = sentencepiece_bpe(words, scores, kinds, "<unk>", True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def generation(tiny_model):
    """Starts a generation from a request's options; the tiny tokenizer has a token per byte."""

    def start(on_text=None, **options):
        return Generation(Request("Hi", max_new_tokens=9, **options), [], tiny_model.tokenizer, on_text)

    return start


def feed(generation, tokenizer, text):
    for token in tokenizer.encode(text, add_special_tokens=False):
        if generation.finish is None:
            generation.add(token, eos=(1,))


def test_shares_are_in_the_order_of_names():
    assert Request("Hi", {"b": 0.2, "a": 1}).persona_shares == (("a", 1.0), ("b", 0.2))
    assert Request("Hi", "a").persona_shares == (("a", 1.0),)
    assert Request("Hi", "none").persona_shares == Request("Hi").persona_shares == ()


def test_prompts_are_a_chat_or_plain_text(tiny_model):
    tokenizer = tiny_model.tokenizer
    assert Request("Hi", chat=False).ids(tokenizer) == tokenizer.encode("Hi")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert Request("Hi", system="Be brief.").ids(tokenizer) == Request(messages).ids(tokenizer)


def test_a_character_of_several_tokens_comes_whole(tiny_model, generation):
    pieces = []
    running = generation(pieces.append)
    feed(running, tiny_model.tokenizer, "né")
    running.add(1, eos=(1,))
    assert pieces == ["n", "é"]
    assert (running.finish, running.text, len(running.ids)) == ("eos", "né", 3)


def test_the_beginning_of_a_stop_string_is_held_back(tiny_model, generation):
    pieces = []
    running = generation(pieces.append, stop=["END"])
    feed(running, tiny_model.tokenizer, "aEN")
    assert pieces == ["a"]
    feed(running, tiny_model.tokenizer, "b")
    assert pieces == ["a", "ENb"]
    feed(running, tiny_model.tokenizer, "END")
    assert (running.finish, running.text, "".join(pieces)) == ("stop", "aENb", "aENb")


def test_a_stop_string_ends_though_its_last_character_comes_in_parts(tiny_model, generation):
    pieces = []
    running = generation(pieces.append, stop=["b→"])
    feed(running, tiny_model.tokenizer, "ab→")
    assert (running.finish, running.text, pieces) == ("stop", "a", ["a"])


@pytest.mark.parametrize("chat", [False, True])
def test_a_continuation_keeps_the_space_that_sentencepiece_leaves_out_of_texts(sentencepiece, chat):
    before, new = sentencepiece.encode("is", add_special_tokens=False), sentencepiece.encode("be it", add_special_tokens=False)
    running = Generation(Request(before, max_new_tokens=9, chat=chat), before, sentencepiece, None)
    for token in new:
        running.add(token, ())
    assert sentencepiece.decode([*before, *new]) == "is be it"
    assert running.text == ("be it" if chat else " be it")


def test_a_character_that_begins_in_the_prompt_ends_in_the_continuation(tiny_model):
    ids = tiny_model.tokenizer.encode("né", add_special_tokens=False)
    assert continuation(tiny_model.tokenizer, ids[:2], ids[2:]) == tiny_model.tokenizer.decode(ids[2:])
    assert continuation(tiny_model.tokenizer, ids[:1], ids[1:]) == "é"
    assert continuation(tiny_model.tokenizer, ids, []) == ""


def test_text_that_was_held_back_is_given_at_the_end(tiny_model, generation):
    pieces = []
    running = generation(pieces.append, stop=["END"])
    feed(running, tiny_model.tokenizer, "aaaaaaaEN")
    assert (running.finish, "".join(pieces), running.text) == ("length", "aaaaaaaEN", "aaaaaaaEN")


def test_a_callback_that_fails_ends_the_request_and_is_called_no_more(tiny_model, generation):
    calls = []

    def broken(piece):
        calls.append(piece)
        raise KeyError(piece)

    running = generation(broken)
    feed(running, tiny_model.tokenizer, "ab")
    assert calls == ["a"]
    assert running.finish == "error" and isinstance(running.error, KeyError)


def test_a_system_text_needs_the_chat_template():
    with pytest.raises(InputError, match="system is given without the chat template"):
        Request("Hi", chat=False, system="Be brief.")
    assert Request("Hi", chat=False, system=" ").system == " "


def test_text_that_is_none_is_refused_before_the_tokenizer():
    for request in (Request("caf\udce9"), Request("caf\udce9", chat=False), Request([{"role": "user", "content": "\ud800"}])):
        with pytest.raises(InputError, match="unpaired surrogate"):
            request.ids(byte_tokenizer())


@pytest.mark.parametrize(("stop", "text"), [(["<|im_start|>"], "ab"), (["<s>", "zz"], "ab"), (["b<", "<|im_start|>"], "ab")])
def test_a_special_token_ends_the_text_though_texts_have_none(tiny_model, generation, stop, text):
    running = generation(stop=stop)
    word = stop[-1] if stop[-1] != "zz" else stop[0]
    feed(running, tiny_model.tokenizer, f"{text}{word}c")
    assert (running.finish, running.text, len(running.ids)) == ("stop", text, len(text))


def test_text_before_a_special_stop_is_given_whole(tiny_model, generation):
    pieces = []
    running = generation(pieces.append, stop=["bcd", "<|im_start|>"])
    feed(running, tiny_model.tokenizer, "abc<|im_start|>")
    assert (running.finish, "".join(pieces)) == ("stop", "abc")


@pytest.mark.parametrize("stop", ["<|im_end|>\n", "x<s>", "<s><s>"])
def test_a_stop_string_that_could_never_match_is_refused(generation, stop):
    with pytest.raises(InputError, match=r"stop .* can never match, because texts have no '<.*>'; give '<.*>' alone"):
        generation(stop=["ok", stop])
