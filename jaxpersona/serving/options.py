"""Reads the options that chats and text completions share: sampling, length, stop texts, streaming."""

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from jaxpersona.core.ranges import check_seed
from jaxpersona.inference.requests import Request, check_stop
from jaxpersona.inference.token_scores import MOST_ALTERNATIVES
from jaxpersona.models.sampling import Sampling
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.persona_spec import PersonaSpec

MOST_CHOICES = 128
MOST_STOPS = 16  # each is looked for after every token
_SAMPLING: Mapping[str, tuple[type, Any]] = {
    "temperature": (float, 1.0),
    "top_p": (float, 1.0),
    "top_k": (int, 0),
    "min_p": (float, 0.0),
    "repetition_penalty": (float, 1.0),
}
"""Types and defaults; the defaults are OpenAI's, and no effect for what OpenAI does not have."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Values of fields that are not supported, with which they ask for nothing."""
_WITHOUT_EFFECT = ("metadata", "parallel_tool_calls", "prompt_cache_key", "safety_identifier", "user")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a request.

    Attributes:
      sampling: settings of sampling.
      stop: texts that end an answer.
      seed: of the first choice; choice i draws with seed + i.
      choices: number of answers to each prompt.
      stream: whether the answer is sent in pieces.
      include_usage: whether a stream ends with the numbers of tokens.
    """

    sampling: Sampling
    stop: list[str]
    seed: int
    choices: int
    stream: bool
    include_usage: bool

    def requests(
        self,
        ids: list[int],
        persona: PersonaSpec,
        new: int,
        alternatives: int | None = None,
        prompt_scored: bool = False,
        chat: bool = True,
    ) -> list[Request]:
        """Returns the engine's requests for all choices of one prompt.

        Args:
          ids: token ids of the prompt.
          persona: the persona that answers.
          new: largest number of new tokens.
          alternatives, prompt_scored, chat: as in ``Request``.
        """
        scores = {"alternatives": alternatives, "prompt_scored": prompt_scored}
        shares, seeds = dict(persona.shares) or None, [(self.seed + choice) % 2**32 for choice in range(self.choices)]
        common = new, self.sampling, self.stop
        return [Request(ids, shares, persona.gamma, *common, seed, chat, **scores) for seed in seeds]


def take_options(fields: Fields) -> Options:
    """Takes the options out of a request's fields, and refuses fields that are not supported.

    Raises:
      ApiError: 400, naming the field.
    """
    settings = {name: fields.get(name, kind, default) for name, (kind, default) in _SAMPLING.items()}
    for name, value in settings.items():
        fields.checked(name, lambda name=name, value=value: Sampling(**{name: value}))
    seed = fields.get("seed", int, secrets.randbits(32))
    fields.checked("seed", lambda: check_seed(seed))
    choices = fields.get("n", int, 1)
    if not 1 <= choices <= MOST_CHOICES:
        raise fields.error("n", f"n is {choices}; it must lie in 1 to {MOST_CHOICES}")
    stop = _take_stop(fields)
    stream = fields.get("stream", bool, False)
    include_usage = _take_include_usage(fields, stream)
    for name, neutral in _NEUTRAL.items():
        fields.refuse_unless(name, neutral, "this server does not support it")
    for name in _WITHOUT_EFFECT:
        fields.take(name)
    return Options(Sampling(**settings), stop, seed, choices, stream, include_usage)


def take_alternatives(fields: Fields, name: str) -> int:
    """Takes the number of most probable tokens to report, 0 if it is missing.

    Raises:
      ApiError: 400, if it is out of range.
    """
    count = fields.get(name, int, 0)
    if not 0 <= count <= MOST_ALTERNATIVES:
        raise fields.error(name, f"{name} is {count}; it must lie in 0 to {MOST_ALTERNATIVES}")
    return count


def _take_stop(fields: Fields) -> list[str]:
    stop = fields.take("stop")
    stop = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        raise fields.error("stop", "stop is not a text or a list of texts")
    if len(stop) > MOST_STOPS:
        raise fields.error("stop", f"stop has {len(stop)} texts; give at most {MOST_STOPS}")
    fields.checked("stop", lambda: check_stop(stop))
    return stop


def _take_include_usage(fields: Fields, stream: bool) -> bool:
    given = fields.given("stream_options")
    options = Fields(fields.get("stream_options", dict, {}), "stream_options")
    include_usage = options.get("include_usage", bool, False)
    options.get("include_obfuscation", bool, False)  # pads chunks against eavesdroppers; without effect here
    options.finish()
    if given and not stream:
        raise fields.error("stream_options", "stream_options is given without stream; set stream to true")
    return include_usage
