"""Errors that a user can fix, and their hints."""

import pytest

from jaxpersona.core.errors import InputError, nearest


def test_input_error_is_a_value_error():
    with pytest.raises(ValueError, match="no such"):
        raise InputError("no such thing")


@pytest.mark.parametrize("typo", ["llma", "lama", "llamaa", "llama"])
def test_a_typo_gets_the_closest_known_word(typo):
    assert nearest(typo, ["mistral", "llama", "qwen"]) == "did you mean 'llama'?"


def test_a_strange_word_gets_all_known_ones_sorted():
    assert nearest("zzz", (word for word in ["mistral", "llama"])) == "known: llama, mistral"
