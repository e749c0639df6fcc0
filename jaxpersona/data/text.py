"""Tokenizes pairs in the four text modes, and splits them where the two texts diverge."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.data.chat_template import render
from jaxpersona.data.pairs import Pair
from jaxpersona.data.text_files import check_characters

_ROWS = "embedding_rows"
_MARK = "<answer 2f1c>"  # stands for an answer, to find its place in a template
TextMode = Literal["chat", "prompt_response", "response", "raw"]


@dataclasses.dataclass(frozen=True)
class TokenizedPair:
    """Token ids of a pair: the prefix that both texts share, and the rest of each.

    The prefix ends where the two token sequences first differ, so ``prefix + matching`` and ``prefix + not_matching`` are exactly
    the tokens of the two whole texts.

    Attributes:
      prefix: tokens of the prompt, and of the answers up to their first difference.
      matching: remaining tokens of the text with the persona's answer.
      not_matching: remaining tokens of the text with the opposite answer.
      answer_start: index of the first token of the answers.
      truncated: whether a text was cut.
    """

    prefix: tuple[int, ...]
    matching: tuple[int, ...]
    not_matching: tuple[int, ...]
    answer_start: int
    truncated: bool

    def __len__(self) -> int:
        return len(self.prefix) + len(self.matching) + len(self.not_matching)

    @property
    def answer_tokens(self) -> tuple[int, int]:
        """Number of tokens of either answer, with the end of its turn; a text's first token has no probability and counts not."""
        before = len(self.prefix) - max(self.answer_start, 1)
        return before + len(self.matching), before + len(self.not_matching)

    def swapped(self) -> "TokenizedPair":
        """Returns the pair with its answers exchanged."""
        return dataclasses.replace(self, matching=self.not_matching, not_matching=self.matching)


def tokenize_pair(
    tokenizer: PreTrainedTokenizerBase, pair: Pair, mode: TextMode = "chat", max_length: int = 512
) -> TokenizedPair:
    """Tokenizes both texts of a pair.

    Args:
      tokenizer: of the model.
      pair: prompt, two answers and optional system text.
      mode: ``chat`` puts system, prompt and answer into the model's chat template. ``prompt_response`` joins them with spaces.
        ``response`` is the answer alone. ``raw`` concatenates them unchanged, without special tokens.
      max_length: tokens at which each text is cut.

    Raises:
      InputError: for an unknown mode; in mode ``chat``, if there is no chat template or it rejects the messages.
    """
    if mode not in get_args(TextMode):
        raise InputError(f"data.text {mode!r} is unknown; {nearest(mode, get_args(TextMode))}")
    prompt = _encode(tokenizer, pair, None, mode)
    whole = [_encode(tokenizer, pair, answer, mode) for answer in (pair.matching, pair.not_matching)]
    first, second = (ids[:max_length] for ids in whole)
    shared = common_prefix_length(first, second)
    answer_start = min(common_prefix_length(prompt, first), common_prefix_length(prompt, second))
    truncated = max(map(len, whole)) > max_length
    return TokenizedPair(tuple(first[:shared]), tuple(first[shared:]), tuple(second[shared:]), answer_start, truncated)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, pair: Pair, mode: TextMode = "chat") -> list[int]:
    """Returns the token ids of everything before the answers of a pair."""
    return _encode(tokenizer, pair, None, mode)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Returns the number of tokens that both sequences begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _encode(tokenizer: PreTrainedTokenizerBase, pair: Pair, answer: str | None, mode: TextMode) -> list[int]:
    """Returns the token ids of the text with ``answer``; with None, of everything before an answer."""
    if mode == "chat":
        return chat_ids(tokenizer, pair.prompt, pair.system, answer)
    if mode == "raw":
        return encode(tokenizer, pair.system + pair.prompt + (answer or ""), add_special_tokens=False)
    before = [] if mode == "response" else [text.strip() for text in (pair.system, pair.prompt) if text.strip()]
    text = " ".join([*before, *([answer.strip()] if answer else [])])
    return beginning_ids(tokenizer, text) if answer is None else encode(tokenizer, text)


def encode(tokenizer: PreTrainedTokenizerBase, text: str, add_special_tokens: bool = True) -> list[int]:
    """Returns the token ids of a text.

    Raises:
      InputError: if the text has an unpaired surrogate, which no tokenizer takes, or a token without an embedding.
    """
    check_characters(text, "a text for the model")
    ids = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    rows = vars(tokenizer).get(_ROWS)
    if rows is not None and ids and max(ids) >= rows:
        word = tokenizer.convert_ids_to_tokens(max(ids))
        raise InputError(f"a text has {word!r}, a token for which the model has no embedding; leave it out")
    return ids


def limit_ids(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Stores the number of the model's embeddings with its tokenizer, so that ``encode`` refuses ids beyond them."""
    vars(tokenizer)[_ROWS] = rows


def opening_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the special token that the tokenizer puts before texts, or nothing; not the one that it puts behind them."""
    first = tokenizer.encode("")[:1]
    return [] if first == [tokenizer.eos_token_id] != [tokenizer.bos_token_id] else first


def beginning_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Returns the token ids of a text that goes on: without the end-of-text token that some tokenizers add.

    Raises:
      InputError: as ``encode``.
    """
    return opening_ids(tokenizer) + encode(tokenizer, text, add_special_tokens=False)


def chat_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str = "", answer: str | None = None) -> list[int]:
    """Returns the token ids of a one-turn chat in the model's chat template, including ``answer`` if given.

    Raises:
      InputError: if the tokenizer has no chat template, or the template rejects the messages.
    """
    return encode(tokenizer, chat_text(tokenizer, prompt, system, answer), add_special_tokens=False)


def chat_text(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str = "", answer: str | None = None) -> str:
    """Returns the text that ``chat_ids`` tokenizes.

    An answer follows what generation begins with, also where the template puts something else before it (an empty thought).
    """
    messages = [{"role": "system", "content": system}] if system.strip() else []
    messages.append({"role": "user", "content": prompt})
    if answer is None:
        return render(tokenizer, messages)
    opening = render(tokenizer, messages)
    text, marked = (render(tokenizer, [*messages, {"role": "assistant", "content": said}]) for said in (answer, _MARK))
    before, found, after = marked.partition(_MARK)
    if not found or before.rstrip() == opening.rstrip():
        return text
    return opening + answer.strip() + after


def messages_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Returns the token ids of a chat, up to the start of the next answer unless the last message is an answer.

    Args:
      tokenizer: of the model.
      messages: mappings with ``role`` and ``content``.

    Raises:
      InputError: if the tokenizer has no chat template, or the template rejects the messages.
    """
    return encode(tokenizer, render(tokenizer, messages), add_special_tokens=False)
