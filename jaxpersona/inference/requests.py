"""What the engine is asked, what it answers, and the text in between: streamed in whole characters, cut at stop strings."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError
from jaxpersona.data.text import chat_ids, messages_ids
from jaxpersona.models.sampling import Sampling

Message = Mapping[str, str]
Finish = Literal["eos", "stop", "length", "cancelled", "error"]
OnText = Callable[[str], None]
"""Called with each new piece of text."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One prompt under one persona.

    Attributes:
      prompt: text, or the messages of a chat so far (``{"role": "user", "content": ...}``), the last one the user's.
      persona: a name the engine knows; a mixture, shares by name (``masks.mix``); None or ``none`` for the model as it is.
      gamma: share of its strength a removed weight keeps, in [0, 1).
      max_new_tokens: at most this many tokens.
      sampling: greedy by default.
      stop: strings before the first of which the text ends.
      seed: of sampling.
      chat: put a text prompt (and ``system``) into the model's chat template; False continues the bare text.
      system: system text before the prompt.
    """

    prompt: str | Sequence[Message]
    persona: str | Mapping[str, float] | None = None
    gamma: float = 0.0
    max_new_tokens: int = 64
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    stop: Sequence[str] = ()
    seed: int = 42
    chat: bool = True
    system: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.stop, str) or not all(self.stop):
            raise InputError(f"stop is {self.stop!r}; give a list of strings that are not empty")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; it must lie in 0 to 2**32 - 1")
        if self.persona_shares and not 0 <= self.gamma < 1:
            raise InputError(f"gamma is {self.gamma}; it must lie in [0, 1)")
        if not self.persona_shares and self.gamma:
            raise InputError(f"gamma is {self.gamma}, but no persona is given for it to soften")

    @property
    def persona_shares(self) -> tuple[tuple[str, float], ...]:
        """The persona as shares by name, in order of names; empty for none."""
        if self.persona is None or self.persona == "none":
            return ()
        shares = {self.persona: 1.0} if isinstance(self.persona, str) else self.persona
        if not shares:
            raise InputError("the mixture of personas is empty; give shares by name")
        return tuple(sorted((name, float(share)) for name, share in shares.items()))

    def ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Token ids of the prompt.

        Raises:
          InputError: for an empty prompt, or a chat without a template.
        """
        if not isinstance(self.prompt, str):
            return messages_ids(tokenizer, self.prompt)
        if not self.prompt.strip():
            raise InputError("a prompt is empty; give some text")
        return chat_ids(tokenizer, self.prompt, self.system) if self.chat else tokenizer.encode(self.prompt)


class Generation:
    """A request under way.

    Attributes:
      request: what was asked.
      prompt_ids: its tokens.
      ids: new tokens so far, without the end-of-turn token.
      text: text so far; after the end, all of it, without special tokens and up to a stop string.
      finish: why it ended (``eos``, ``stop``, ``length``, ``cancelled``, ``error``), or None.
      error: what went wrong, if something did.
    """

    def __init__(self, request: Request, prompt_ids: list[int], tokenizer: PreTrainedTokenizerBase, on_text: OnText | None):
        self.request, self.prompt_ids = request, prompt_ids
        self.ids: list[int] = []
        self.text = ""
        self.finish: Finish | None = None
        self.error: Exception | None = None
        self.cancelled = False
        self._tokenizer, self._on_text = tokenizer, on_text

    def cancel(self) -> None:
        """Ends the request before its next token; the text so far stays."""
        self.cancelled = True

    def add(self, token: int, eos: Sequence[int]) -> None:
        """Takes the next token."""
        if token in eos:
            return self.end("eos")
        self.ids.append(token)
        said = self._decoded()
        cut = min((place for stop in self.request.stop if (place := said.find(stop)) >= 0), default=None)
        if cut is not None:
            self.end("stop")
            return self._say(said[:cut])
        self._say(said[: len(said) - _unsettled(said, self.request.stop)])
        if self.finish is None and len(self.ids) == self.request.max_new_tokens:
            self.end("length")
        return None

    def end(self, finish: Finish, error: Exception | None = None) -> None:
        """Ends the request; text held back for a stop string that did not come is said."""
        self.finish, self.error = finish, error
        if finish != "stop":
            self._say(self._decoded())

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self.ids, skip_special_tokens=True))

    def _say(self, said: str) -> None:
        new, self.text = said[len(self.text) :], max(self.text, said, key=len)
        if not new or self._on_text is None:
            return
        try:
            self._on_text(new)
        except Exception as error:  # the caller's; it must not stop the other requests
            self._on_text, self.finish, self.error = None, "error", error


def _unsettled(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end may still change or turn out to begin a stop string.

    >>> _unsettled("one\\n", ["\\n\\nUser:"]), _unsettled("caf\ufffd", []), _unsettled("done", ["x"])
    (1, 1, 0)
    """
    broken = len(text) - len(text.rstrip("\ufffd"))
    begun = (length for stop in stops for length in range(len(stop) - 1, 0, -1) if text.endswith(stop[:length]))
    return max(broken, *begun, 0)
