"""Requests to the engine and their generations, whose text streams in whole characters and ends at stop strings."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError
from jaxpersona.core.finite import OVERFLOW
from jaxpersona.core.ranges import check_seed
from jaxpersona.data.text import beginning_ids, chat_ids, messages_ids
from jaxpersona.inference.token_scores import MOST_ALTERNATIVES, Scores, TokenScore, token_score
from jaxpersona.models.sampling import Sampling

Message = Mapping[str, str]
Finish = Literal["eos", "stop", "length", "cancelled", "error"]
OnText = Callable[[str], None]
"""Receives each new piece of text."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A prompt to be continued under one persona.

    Attributes:
      prompt: text, the messages of a chat (``{"role": "user", "content": ...}``) that end with the user's, or token ids.
      persona: a name the engine knows; a mixture, as shares by name (``masks.mix``); None or ``none`` for the base model.
      gamma: fraction of its value that a removed weight keeps, in [0, 1).
      max_new_tokens: maximum number of new tokens.
      sampling: greedy by default.
      stop: the text ends before the first of these strings, or before a special token that one of them names.
      seed: of sampling.
      chat: puts a text prompt (and ``system``) into the model's chat template. False continues the raw text, of which token ids
        may also be the prompt.
      system: system text before the prompt.
      alternatives: number of most probable tokens to report with the log-probability of each token (``Generation.scores``);
        None computes no log-probabilities.
      prompt_scored: also computes the log-probabilities of the prompt's tokens; allows 0 new tokens.

    Raises:
      InputError: if ``stop`` is a string or has an empty one, the seed is out of range, gamma is outside [0, 1) or given without
        a persona, a mixture is empty, ``system`` is given and ``chat`` is False, or ``alternatives`` is out of range or missing.
    """

    prompt: str | Sequence[Message] | Sequence[int]
    persona: str | Mapping[str, float] | None = None
    gamma: float = 0.0
    max_new_tokens: int = 64
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    stop: Sequence[str] = ()
    seed: int = 42
    chat: bool = True
    system: str = ""
    alternatives: int | None = None
    prompt_scored: bool = False

    def __post_init__(self) -> None:
        check_stop(self.stop)
        check_seed(self.seed)
        check_system(self.chat, self.system)
        if self.alternatives is not None and not 0 <= self.alternatives <= MOST_ALTERNATIVES:
            raise InputError(f"alternatives is {self.alternatives}; it must lie in 0 to {MOST_ALTERNATIVES}")
        if self.prompt_scored and self.alternatives is None:
            raise InputError("prompt_scored is given without alternatives; give at least 0")
        if self.persona_shares and not 0 <= self.gamma < 1:
            raise InputError(f"gamma is {self.gamma}; it must lie in [0, 1)")
        if not self.persona_shares and self.gamma:
            raise InputError(f"gamma is {self.gamma}, but no persona is given for it to soften")

    @property
    def persona_shares(self) -> tuple[tuple[str, float], ...]:
        """The persona as (name, share) pairs sorted by name; empty for the base model."""
        if self.persona is None or self.persona == "none":
            return ()
        shares = {self.persona: 1.0} if isinstance(self.persona, str) else self.persona
        if not shares:
            raise InputError("the mixture of personas is empty; give shares by name")
        return tuple(sorted((name, float(share)) for name, share in shares.items()))

    def ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Returns the token ids of the prompt.

        Raises:
          InputError: if the prompt is empty or has an unpaired surrogate, or is a chat and the tokenizer has no chat template.
        """
        if not (self.prompt.strip() if isinstance(self.prompt, str) else self.prompt):
            raise InputError("a prompt is empty; give some text")
        if isinstance(self.prompt, str):
            return chat_ids(tokenizer, self.prompt, self.system) if self.chat else beginning_ids(tokenizer, self.prompt)
        ids = [token for token in self.prompt if isinstance(token, int)]
        return ids or messages_ids(tokenizer, [message for message in self.prompt if not isinstance(message, int)])


def check_stop(stop: Sequence[str]) -> None:
    """Refuses stop strings that are not a list, or empty."""
    if isinstance(stop, str) or not all(stop):
        raise InputError(f"stop is {stop!r}; give a list of strings that are not empty")


def check_system(chat: bool, system: str) -> None:
    """Refuses a system text without the chat template that would hold it."""
    if system.strip() and not chat:
        raise InputError("system is given without the chat template that would hold it; put that text into the prompt")


class Generation:
    """The state and result of a submitted request.

    Attributes:
      request: the request.
      prompt_ids: token ids of the prompt.
      ids: new token ids so far, without the end-of-turn token.
      text: new text so far, without special tokens, cut before a stop string.
      scores: log-probabilities of the tokens so far, and of the one that ended the answer; empty unless asked for.
      prompt_scores: log-probabilities of the prompt's tokens, None for the first; empty unless asked for.
      finish: reason of the end (``eos``, ``stop``, ``length``, ``cancelled``, ``error``); None while it runs.
      error: the error that ended the request, if any.
      cancelled: whether ``cancel`` was called.
    """

    def __init__(self, request: Request, prompt_ids: list[int], tokenizer: PreTrainedTokenizerBase, on_text: OnText | None):
        self.request, self.prompt_ids = request, prompt_ids
        self.ids: list[int] = []
        self.text = ""
        self.scores: list[TokenScore] = []
        self.prompt_scores: list[TokenScore | None] = []
        self.finish: Finish | None = None
        self.error: Exception | None = None
        self.cancelled = False
        self._tokenizer, self._on_text = tokenizer, on_text
        self._stop_ids = stop_ids(tokenizer, request.stop)

    def cancel(self) -> None:
        """Ends the request before its next token and keeps the text so far."""
        self.cancelled = True

    def add_prompt(self, scores: Scores) -> None:
        """Takes the scores of the prompt's tokens, on the host.

        Raises:
          InputError: if one is not finite.
        """
        if not np.isfinite(scores.log_probs[: len(self.prompt_ids)]).all():
            raise InputError(f"log-probabilities of the prompt are not finite: {OVERFLOW}")
        count = self.request.alternatives or 0
        scored = (token_score(scores, index, token, count) for index, token in enumerate(self.prompt_ids[1:], start=1))
        self.prompt_scores = [None, *scored]

    def add(self, token: int, eos: Sequence[int], score: TokenScore | None = None) -> None:
        """Appends the next token; ends the request at a token of ``eos``, a stop string or the maximum length.

        Args:
          token: the token.
          eos: tokens that end every request.
          score: its log-probability, if it is wanted.
        """
        if score is not None:
            self.scores.append(score)
        if token in eos:
            return self.end("eos")
        if token in self._stop_ids:
            self.end("stop")
            return self._emit(self._decoded())
        self.ids.append(token)
        text = self._decoded()
        cut = min((start for stop in self.request.stop if (start := text.find(stop)) >= 0), default=None)
        if cut is not None:
            self.end("stop")
            return self._emit(text[:cut])
        self._emit(text[: len(text) - _unsettled(text, self.request.stop)])
        if self.finish is None and len(self.ids) == self.request.max_new_tokens:
            self.end("length")
        return None

    def end(self, finish: Finish, error: Exception | None = None) -> None:
        """Ends the request and emits text that was held back as the possible beginning of a stop string."""
        self.finish, self.error = finish, error
        if finish != "stop":
            self._emit(self._decoded())

    def _decoded(self) -> str:
        return continuation(self._tokenizer, [] if self.request.chat else self.prompt_ids, self.ids)

    def _emit(self, text: str) -> None:
        new, self.text = text[len(self.text) :], max(self.text, text, key=len)
        if not new or self._on_text is None:
            return
        try:
            self._on_text(new)
        except Exception as error:  # raised by the caller's callback; it must not stop the other requests
            self._on_text, self.finish, self.error = None, "error", error


def continuation(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], ids: Sequence[int]) -> str:
    """Returns the text of new tokens, without special tokens.

    Args:
      before: the tokens of the text that they continue. Tokenizers such as Llama 2's leave out the space that a text begins with,
        but not one in its middle. Without any, the new tokens are a text of their own.
      ids: the new tokens.
    """
    last, new = list(before[-1:]), list(ids)
    start, whole = (str(tokenizer.decode(some, skip_special_tokens=True)) if some else "" for some in (last, last + new))
    if whole.startswith(start):
        return whole[len(start) :]
    return str(tokenizer.decode(new, skip_special_tokens=True))  # a character began in the text before


def stop_ids(tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> set[int]:
    """Returns the ids of the stop strings that are special tokens, which the text never has.

    Raises:
      InputError: if a stop string has a special token beside other text.
    """
    if not stops:
        return set()
    special = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    for stop in stops:
        inside = next((word for word in special if word in stop and stop not in special), None)
        if inside is not None:
            raise InputError(f"stop {stop!r} can never match, because texts have no {inside!r}; give {inside!r} alone")
    return {special[stop] for stop in stops if stop in special}


def _unsettled(text: str, stops: Sequence[str]) -> int:
    """Returns the number of final characters that may still change or may begin a stop string.

    >>> _unsettled("one\\n", ["\\n\\nUser:"]), _unsettled("caf\ufffd", []), _unsettled("done", ["x", "e" * 10**6])
    (1, 1, 1)
    >>> _unsettled("the end\ufffd", ["end\u3002"])  # half a character may become the last one of the stop string
    4
    """
    whole = text.rstrip("\ufffd")
    begun = (length for stop in stops for length in range(min(len(stop) - 1, len(whole)), 0, -1) if whole.endswith(stop[:length]))
    return len(text) - len(whole) + max(begun, default=0)
