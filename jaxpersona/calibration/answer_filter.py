"""Says why two generated answers to one question make no contrastive pair."""

import re

from jaxpersona.data.descriptions import Descriptions
from jaxpersona.data.pairs import Pair

_FEWEST_WORDS, _MOST_REPEATED, _MOST_SHARED, _FEWEST_KEYS = 3, 0.3, 0.5, 3
_REFUSAL = re.compile(
    r"\bas an? (ai|artificial|language model|large language)|\bi('m| am) an? (ai|artificial|language model)\b|"
    r"^(i('m| am) )?sorry,? (but )?i\b|^i (can't|cannot|can not|won't|am unable to|'m unable to) "
    r"(answer|assist|provide|help (you|with))\b"
)


def fault_of(pair: Pair, descriptions: Descriptions) -> str | None:
    """Returns why two answers make no pair, None if they do.

    Reasons, of which the first that holds is returned:
      empty: an answer has fewer than 3 words.
      refusal: an answer declines, or speaks of itself as a language model.
      loop: more than 30 % of an answer's 3-grams of words occurred earlier in it.
      description: an answer has all the longer words of a description, or of a sentence in it with at least three of them.
      similar: the answers share more than half of their different words.
    """
    answers = (pair.matching, pair.not_matching)
    spoken = [_words(answer) for answer in answers]
    if min(map(len, spoken)) < _FEWEST_WORDS:
        return "empty"
    if any(_REFUSAL.search(answer.lower().replace("\u2019", "'").strip()) for answer in answers):
        return "refusal"
    if any(repeated_share(words) > _MOST_REPEATED for words in spoken):
        return "loop"
    keys = [key for text in (descriptions.first, descriptions.second) for key in _keys_of(text)]
    if any(key <= set(words) for words in spoken for key in keys):
        return "description"
    first, second = map(set, spoken)
    return "similar" if len(first & second) > _MOST_SHARED * len(first | second) else None


def repeated_share(words: list[str]) -> float:
    """Returns the fraction of 3-grams that occurred earlier.

    >>> repeated_share("a b c a b c".split()), repeated_share("a b".split())
    (0.25, 0.0)
    """
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def _keys_of(description: str) -> list[set[str]]:
    """Returns the longer words of a description, and those of each sentence with enough of them.

    >>> [sorted(key) for key in _keys_of("You save. Money guides your decisions.")]
    [['decisions', 'guides', 'money', 'save', 'your'], ['decisions', 'guides', 'money', 'your']]
    """
    sentences = [_key_words(sentence) for sentence in re.split(r"[.!?]", description) if sentence.strip()]
    return [_key_words(description), *(key for key in sentences if len(key) >= _FEWEST_KEYS)]


def _key_words(description: str) -> set[str]:
    """Returns the words of more than three letters, or all if there are none.

    >>> sorted(_key_words("a cheerful optimist")), sorted(_key_words("a spy"))
    (['cheerful', 'optimist'], ['a', 'spy'])
    """
    words = set(_words(description))
    return {word for word in words if len(word) > 3} or words


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
