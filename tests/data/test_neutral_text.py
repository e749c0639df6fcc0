"""Neutral text is read from the package or a UTF-8 file."""

import pathlib

import pytest

import jaxpersona
from jaxpersona.core.errors import InputError
from jaxpersona.data.neutral_text import BUILTIN_TEXT, VARIED_TEXT, read_text


def test_the_builtin_text_is_the_file_in_the_package():
    path = pathlib.Path(jaxpersona.__file__).parent / "data" / "builtin" / "neutral.txt"
    assert read_text(BUILTIN_TEXT).encode() == path.read_bytes()
    assert len(read_text(BUILTIN_TEXT).split()) > 2048


def test_the_varied_text_has_paragraphs_and_articles_in_turn():
    short, paragraphs = read_text(BUILTIN_TEXT).split("\n\n"), read_text(VARIED_TEXT).split("\n\n")
    is_short = [paragraph in short for paragraph in paragraphs]
    assert is_short[:18] == [*[True] * 6, *[False] * 3] * 2
    assert not set(paragraphs) & set(short[: len(short) // 2])  # which perplexity is reported on
    assert len(set(paragraphs)) == len(paragraphs)


def test_text_file_is_read_as_utf8(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("Où est-il ?".encode())
    assert read_text(str(path)) == "Où est-il ?"


def test_missing_text_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt does not exist; give a file, builtin:neutral or builtin:varied"):
        read_text(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="does not exist"):
        read_text(str(tmp_path))


def test_text_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("Où".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt: not UTF-8 text \(byte 1\)"):
        read_text(str(path))


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfPlain.\r\nText\x0c")
    assert read_text(str(path)) == "Plain.\nText\x0c"
