"""From a pair to tokens: the text modes, and where the two answers part."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import jinja2
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.data.pairs import Pair

TextMode = Literal["chat", "prompt_response", "response", "raw"]


@dataclasses.dataclass(frozen=True)
class TokenizedPair:
    """Token ids of a pair: the prefix both texts share, and how each goes on.

    The prefix ends where the two token sequences first differ, so ``prefix + matching`` and ``prefix + not_matching`` are exactly
    what the tokenizer makes of the two whole texts. ``answer_start`` is the index of the first token of the answers;
    ``truncated`` says whether a text was cut.
    """

    prefix: tuple[int, ...]
    matching: tuple[int, ...]
    not_matching: tuple[int, ...]
    answer_start: int
    truncated: bool

    def __len__(self) -> int:
        return len(self.prefix) + len(self.matching) + len(self.not_matching)

    def swapped(self) -> "TokenizedPair":
        """The pair with its answers exchanged."""
        return dataclasses.replace(self, matching=self.not_matching, not_matching=self.matching)


def tokenize_pair(
    tokenizer: PreTrainedTokenizerBase, pair: Pair, mode: TextMode = "chat", max_length: int = 512
) -> TokenizedPair:
    """Tokenizes both texts of a pair, each cut at ``max_length`` tokens.

    Args:
      mode: ``chat``, the model's chat template around system, prompt and answer; ``prompt_response``, the texts with a space
        between; ``response``, the answer alone; ``raw``, prompt and answer joined as they are, without special tokens.

    Raises:
      InputError: for an unknown mode, or ``chat`` with a tokenizer that has no template or one that refuses the messages.
    """
    if mode not in get_args(TextMode):
        raise InputError(f"data.text {mode!r} is unknown; {nearest(mode, get_args(TextMode))}")
    opening = _encode(tokenizer, pair, None, mode)
    whole = [_encode(tokenizer, pair, answer, mode) for answer in (pair.matching, pair.not_matching)]
    first, second = (ids[:max_length] for ids in whole)
    shared = common(first, second)
    answer_start = min(common(opening, first), common(opening, second))
    truncated = max(map(len, whole)) > max_length
    return TokenizedPair(tuple(first[:shared]), tuple(first[shared:]), tuple(second[shared:]), answer_start, truncated)


def opening_ids(tokenizer: PreTrainedTokenizerBase, pair: Pair, mode: TextMode = "chat") -> list[int]:
    """Token ids of all that stands before the answers of a pair."""
    return _encode(tokenizer, pair, None, mode)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens with which both begin."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _encode(tokenizer: PreTrainedTokenizerBase, pair: Pair, answer: str | None, mode: TextMode) -> list[int]:
    """Token ids of the text with ``answer``, or of all that stands before an answer."""
    if mode == "chat":
        return chat_ids(tokenizer, pair.prompt, pair.system, answer)
    if mode == "raw":
        return tokenizer.encode(pair.system + pair.prompt + (answer or ""), add_special_tokens=False)
    before = [] if mode == "response" else [text.strip() for text in (pair.system, pair.prompt) if text.strip()]
    return tokenizer.encode(" ".join([*before, *([answer.strip()] if answer else [])]))


def chat_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str = "", answer: str | None = None) -> list[int]:
    """Token ids of a one-turn chat in the model's own template: up to where the answer starts, or with ``answer``."""
    return tokenizer.encode(chat_text(tokenizer, prompt, system, answer), add_special_tokens=False)


def chat_text(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str = "", answer: str | None = None) -> str:
    """What ``chat_ids`` tokenizes."""
    messages = [{"role": "system", "content": system}] if system.strip() else []
    messages.append({"role": "user", "content": prompt})
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return _templated(tokenizer, messages)


def messages_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a chat of ``role`` and ``content``: up to where an answer starts, unless the last message is one.

    Raises:
      InputError: when the tokenizer has no chat template, or one that refuses the messages.
    """
    return tokenizer.encode(_templated(tokenizer, messages), add_special_tokens=False)


def _templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> str:
    if not tokenizer.chat_template:
        raise InputError("the model has no chat template; use --data.text prompt_response (or an instruct model)")
    stripped = [{"role": message["role"], "content": message["content"].strip()} for message in messages]
    opened = stripped[-1]["role"] != "assistant"
    try:
        text = tokenizer.apply_chat_template(stripped, tokenize=False, add_generation_prompt=opened)
    except jinja2.TemplateError as error:
        raise InputError(f"the model's chat template refuses the messages ({error}); leave out the system text") from None
    return str(text)
