"""SentencePiece BPE gives the ids of the plain algorithm, and of llama.cpp."""

import functools
import itertools
import json
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxpersona import InputError
from jaxpersona.models.gguf import GGUFSource
from jaxpersona.models.sentencepiece import merges
from jaxpersona.models.tokenizer import from_gguf

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "llama-spm-tokenizer.json"
RUNS = {"▁▁": -1e9, "▁▁▁▁": -1e9, "▁▁▁": -1e9}
SPELT = {"<0": -12, "<0x": -13, "A>": -14, "0A>": -15}  # joined further they would give a byte word
# Scores do not fall with the ids, "he" competes with "th", and "helo" can only come from "hel" and "o".
SCORED = {
    "th": -3,
    "he": -2,
    "▁t": -1,
    "hel": -6,
    "the": -4,
    "▁the": -5,
    "helo": -8,
    "▁h": -7,
    "▁▁t": -9,
    "eé": -10,
    "12": -11,
    **RUNS,
    **SPELT,
}
LETTERS = ["▁", "t", "h", "e", "l", "o", "é", "1", "2", "<", "0", "x", "A", ">", "s"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIALS = ["<unk>", "<s>", "</s>", "<tool>"]
WORDS = [*SPECIALS, *BYTES, *SCORED, *LETTERS]
SCORES = [0.0] * 260 + [*map(float, SCORED.values())] + [-100.0 - n for n in range(len(LETTERS))]
KINDS = [2, 3, 3, 4, *[6] * 256, *[1] * (len(SCORED) + len(LETTERS))]


def fields_of(words, scores, kinds):
    ids = {"ggml_bos_token_id": 1, "ggml_eos_token_id": 2, "ggml_pre": None, "ggml_merges": None}
    return {
        "ggml_model": "llama",
        "ggml_tokens": tuple(words),
        "ggml_scores": tuple(scores),
        "ggml_token_type": tuple(kinds),
        **ids,
    }


@pytest.fixture
def build(tokenizer_gguf):
    @functools.cache
    def build(**fields):
        return from_gguf(GGUFSource(tokenizer_gguf("", **{**fields_of(WORDS, SCORES, KINDS), **fields})))

    return build


def reference(text, prefix=True):
    """Splits a text into words: joins the leftmost of the best-scored neighbours until no two form a word."""
    scores = dict(zip(WORDS[260:], SCORES[260:], strict=True))
    pieces = list(("▁" if prefix and text else "") + text.replace(" ", "▁"))
    while pairs := [(scores[a + b], -n) for n, (a, b) in enumerate(itertools.pairwise(pieces)) if a + b in scores]:
        at = -max(pairs)[1]
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    spelt = ([piece] if piece in scores else [f"<0x{byte:02X}>" for byte in piece.encode()] for piece in pieces)
    return list(itertools.chain.from_iterable(spelt))


def cut(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("prefix", [True, False])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("thelo 12é\n日😀"), max_size=30))
def test_words_are_cut_by_score_and_decoding_gives_the_text_back(build, prefix, text):
    tokenizer = build(ggml_add_space_prefix=prefix)
    assert cut(tokenizer, text) == reference(text, prefix)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("the", ["▁the"]),
        ("helo", ["▁", "helo"]),
        ("  the", ["▁▁", "▁the"]),
        ("a", ["▁", "<0x61>"]),
        ("<0xA>", ["▁", "<0x", "A>"]),
        ("日", ["▁", "<0xE6>", "<0x97>", "<0xA5>"]),
    ],
)
def test_known_texts(build, text, expected):
    assert reference(text) == expected
    assert cut(build(), text) == expected


def test_byte_words_written_out_are_letters(build):
    assert cut(build(), "<0x0A>") == reference("<0x0A>") == ["▁", "<0x", "0A>"]


def test_merges_are_all_cuts_in_two_words_by_falling_score():
    words, scores, kinds = WORDS[256:], SCORES[256:], KINDS[256:]
    normal = {word for word, kind in zip(words, kinds, strict=True) if kind == 1}
    expected = {(a, b) for a in normal for b in normal if a + b in normal}
    found = merges(words, scores, kinds)
    assert set(found) == expected and len(found) == len(expected)
    ranked = [(-scores[words.index(a + b)], words.index(a + b)) for a, b in found]
    assert ranked == sorted(ranked)


def test_special_words_stand_alone_and_what_follows_gets_its_own_space(build):
    tokenizer = build()
    ids = tokenizer.encode("the</s>the<tool> h<unk>", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁the", "</s>", "▁the", "<tool>", "▁", "▁h", "<unk>"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the the<tool>  h"


@pytest.mark.parametrize(
    ("fields", "first", "last"),
    [
        ({}, ["<s>"], []),
        ({"ggml_add_bos_token": False}, [], []),
        ({"ggml_add_eos_token": True}, ["<s>"], ["</s>"]),
        ({"ggml_add_bos_token": False, "ggml_add_eos_token": True}, [], ["</s>"]),
        ({"ggml_bos_token_id": None}, [], []),
        ({"ggml_bos_token_id": 2**32 - 1}, [], []),
    ],
)
def test_texts_start_with_bos_and_end_without_eos_unless_the_file_says_otherwise(build, fields, first, last):
    tokenizer = build(**fields)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("the")) == [*first, "▁the", *last]


def test_letters_without_byte_words_become_one_unknown_word(build):
    def without_bytes(values):
        return (*values[:4], *values[260:])

    tokenizer = build(**fields_of(without_bytes(WORDS), without_bytes(SCORES), without_bytes(KINDS)))
    assert cut(tokenizer, "日本the") == ["▁", "<unk>", "the"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ggml_scores": None}, r"metadata tokenizer.ggml.scores is missing; download the file again"),
        ({"ggml_scores": (*SCORES[:-1],)}, rf"scores has {len(WORDS) - 1} entries for {len(WORDS)} words; download it again"),
        ({"ggml_token_type": (*KINDS[:5],)}, rf"token_type has 5 entries for {len(WORDS)} words; download it again"),
    ],
)
def test_a_vocabulary_that_is_not_whole_is_refused(build, fields, message):
    with pytest.raises(InputError, match=message):
        build(**fields)


@pytest.mark.parametrize(("prefix", "key"), [(True, "prefix"), (False, "plain")])
def test_a_trained_vocabulary_is_cut_as_llama_cpp_does(build, prefix, key):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    fields = fields_of(golden["tokens"], [float(score) for score in golden["scores"]], golden["token_type"])
    tokenizer = build(**fields, ggml_add_space_prefix=prefix)
    assert len(golden["cases"]) > 30
    found = [tokenizer.encode(case["text"], add_special_tokens=False) for case in golden["cases"]]
    assert found == [case[key] for case in golden["cases"]]
