"""Answers ``POST /v1/completions``: texts that go on, and log-probabilities of given texts."""

import dataclasses
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from jaxpersona.data.text import beginning_ids, opening_ids
from jaxpersona.inference.requests import Generation
from jaxpersona.serving.body import read_object
from jaxpersona.serving.engine_loop import Snapshot
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.log_probs import offsets_of, text_log_probs
from jaxpersona.serving.options import take_alternatives, take_options
from jaxpersona.serving.persona_spec import take_persona
from jaxpersona.serving.respond import Asked, finish_reason, respond
from jaxpersona.serving.service import Service

_DEFAULT_LENGTH = 16  # OpenAI's


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt of a text completion.

    Attributes:
      text: the text that ``echo`` repeats.
      ids: its token ids.
      added: number of token ids before it that the text does not show.
    """

    text: str
    ids: list[int]
    added: int


@dataclasses.dataclass(frozen=True)
class TextForm:
    """Text completions as OpenAI's clients read them.

    Attributes:
      service: the server's parts.
      prompts: the prompt of each choice.
      echo: whether choices begin with their prompt.
    """

    service: Service
    prompts: list[Prompt]
    echo: bool
    id_prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def choice(self, index: int, generation: Generation, now: Snapshot) -> dict[str, Any]:
        """Returns a whole choice."""
        whole = self.delta(index, generation, Snapshot(), now)
        before = self.opening(index, generation)
        if before is None:
            return whole
        joined = whole["logprobs"] and {key: before["logprobs"][key] + whole["logprobs"][key] for key in whole["logprobs"]}
        return {**whole, "text": before["text"] + whole["text"], "logprobs": joined}

    def opening(self, index: int, generation: Generation) -> dict[str, Any] | None:
        """Returns the prompt, if it is repeated; its log-probabilities are known once the first token is."""
        if not self.echo:
            return None
        prompt, log_probs = self.prompts[index], None
        if generation.request.prompt_scored:
            texts, hidden = self.service.token_texts, [number < prompt.added for number in range(len(prompt.ids))]
            offsets, _ = offsets_of(texts, prompt.ids, 0, hidden, prompt.text.startswith(" "))
            log_probs = text_log_probs(texts, prompt.ids, generation.prompt_scores, offsets)
        return {"index": index, "text": prompt.text, "logprobs": log_probs, "finish_reason": None}

    def delta(self, index: int, generation: Generation, before: Snapshot, now: Snapshot) -> dict[str, Any]:
        """Returns the new text and, with log-probabilities, the new tokens and the one that ended the answer."""
        log_probs = None
        if generation.request.alternatives is not None:
            texts, scores = self.service.token_texts, generation.scores[: None if now.finish else now.tokens]
            tokens = [score.token for score in scores]
            start = len(self.prompts[index].text) if self.echo else 0
            offsets, _ = offsets_of(texts, tokens, start, [texts.is_special(token) for token in tokens])
            new = slice(before.tokens, None)
            log_probs = text_log_probs(texts, tokens[new], scores[new], offsets[new])
        text = now.text[len(before.text) :]
        return {"index": index, "text": text, "logprobs": log_probs, "finish_reason": finish_reason(now)}


async def completions(http: HttpRequest) -> Response:
    """Continues texts."""
    service: Service = http.app.state.service
    asked, form = parse_completion(await read_object(http, service.settings.max_body_bytes), service)
    return await respond(http, service, asked, form)


def parse_completion(body: dict[str, Any], service: Service) -> tuple[Asked, TextForm]:
    """Reads a request for text completions.

    Raises:
      ApiError: 400 or 404, naming the field that is wrong.
    """
    fields = Fields(body)
    persona, options = take_persona(fields, service.catalogue), take_options(fields)
    prompts = _take_prompts(fields, service, options.choices)
    echo = fields.get("echo", bool, False)
    alternatives = take_alternatives(fields, "logprobs") if fields.given("logprobs") else None
    length = fields.get("max_tokens", int, None)
    fields.refuse_unless("best_of", (options.choices,), "this server returns all answers that it generates (n)")
    fields.finish()
    scored, most = echo and alternatives is not None, service.loop.engine.max_length
    requests = []
    for prompt in prompts:
        new = max(1, min(_DEFAULT_LENGTH, most - len(prompt.ids))) if length is None else length
        service.check_room("prompt", "max_tokens", len(prompt.ids), new, least=0 if scored else 1)
        settled = service.settle(persona, prompt.text)
        requests += options.requests(prompt.ids, settled, new, alternatives, scored, chat=False)
    service.check_request(fields, requests[0])
    asked = Asked(body["model"], persona.label, requests, "prompt", options.choices, options.stream, options.include_usage)
    return asked, TextForm(service, [prompt for prompt in prompts for _ in range(options.choices)], echo)


def _take_prompts(fields: Fields, service: Service, choices: int) -> list[Prompt]:
    """Takes ``prompt``: a text, token ids, or a list of either, each of which gets ``choices`` answers."""
    given = fields.take("prompt")
    several = isinstance(given, list) and bool(given) and not _is_ids(given)
    prompts = given if several else [given]
    service.check_count("prompt", len(prompts) * choices)  # before a body full of prompts is tokenized
    return [_prompt(prompt, fields, service) for prompt in prompts]


def _prompt(prompt: Any, fields: Fields, service: Service) -> Prompt:
    tokenizer = service.tokenizer
    if isinstance(prompt, str) and prompt:
        service.check_size("prompt", [prompt])
        ids = fields.checked("prompt", lambda: beginning_ids(tokenizer, prompt))
        return Prompt(prompt, ids, len(opening_ids(tokenizer)))
    if _is_ids(prompt):
        fields.checked("prompt", lambda: service.loop.engine.check_ids(prompt))
        return Prompt(str(tokenizer.decode(prompt)), prompt, 0)
    raise fields.error("prompt", "prompt is missing or empty; give a text, a list of token ids, or a list of either")


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)
