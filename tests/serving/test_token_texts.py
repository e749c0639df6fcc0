"""The bytes of tokens make up the text, and different tokens have different texts."""

import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.serving.token_texts import TokenTexts


@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_bytes_of_tokens_make_up_the_text(tiny_model, text):
    tokenizer = tiny_model.tokenizer
    texts = TokenTexts(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(map(texts.raw, ids)) == text.encode()
    assert len({texts.text(token) for token in range(256)}) == 256


def test_special_tokens_are_left_out_of_texts(tiny_model):
    texts = TokenTexts(tiny_model.tokenizer)
    assert texts.is_special(tiny_model.tokenizer.bos_token_id) and not texts.is_special(100)
    assert texts.text(tiny_model.tokenizer.bos_token_id) == "<s>"
    assert texts.longest == len("<|im_start|>")


@pytest.mark.parametrize(
    ("word", "text"),
    [("<0x0A>", "\n"), ("<0xE2>", "bytes:\\xe2"), ("\u2581the", " the"), ("<0xZZ", "<0xZZ"), ("\u00e9", "\u00e9")],
)
def test_words_of_sentencepiece_have_spaces_and_bytes(word, text):
    for added in ({}, {0: types.SimpleNamespace(content=word, special=False)}):  # GGUF files add words of the user's
        tokenizer = types.SimpleNamespace(added_tokens_decoder=added, convert_ids_to_tokens=lambda token: word)
        assert TokenTexts(tokenizer).text(0) == text
