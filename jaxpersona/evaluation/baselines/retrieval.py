"""Retrieval-augmented persona: the calibration samples most like a question stand before it in context."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

from jaxpersona.core.errors import InputError
from jaxpersona.data.pairs import Pair

_PLAIN = {"stopwords": [], "show_progress": False}  # BM25 gives common words little weight anyway, in any language


def retriever(samples: Sequence[Pair], k: int = 3) -> Callable[[Pair], Pair]:
    """A function that puts the ``k`` samples whose questions are nearest by BM25 before a pair's question, the nearest last.

    Args:
      samples: pairs whose matching answers are the persona's.
      k: how many samples; all if there are fewer.

    Raises:
      InputError: when the package ``bm25s`` is missing, ``k`` is below 1, or no sample has a word.
    """
    try:
        import bm25s
    except ImportError:
        raise InputError('baseline rag needs the package bm25s: pip install "jaxpersona[baselines]"') from None
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it prints what it does at level debug
    if k < 1:
        raise InputError(f"rag_k is {k}; give at least 1")
    # Answers are in the index too: samples of sets without questions can be found by nothing else.
    words = bm25s.tokenize([f"{pair.prompt} {pair.matching}" for pair in samples], **_PLAIN, return_ids=False)
    if not any(words):
        raise InputError("baseline rag finds no word in the calibration pairs to search for")
    index = bm25s.BM25(backend="numpy")
    index.index(words, show_progress=False)

    def ask(pair: Pair) -> Pair:
        query = bm25s.tokenize([pair.prompt], **_PLAIN, return_ids=False)
        found, _ = index.retrieve(query, k=min(k, len(samples)), show_progress=False, backend_selection="numpy")
        shown = [f"Question: {samples[i].prompt.strip()}\nAnswer: {samples[i].matching.strip()}" for i in found[0][::-1]]
        return dataclasses.replace(pair, prompt="\n\n".join([*shown, f"Question: {pair.prompt.strip()}"]))

    return ask
