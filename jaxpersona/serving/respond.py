"""Runs the generations of a request and sends its answer: whole, or in pieces as server-sent events."""

import asyncio
import dataclasses
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from sse_starlette import EventSourceResponse
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from jaxpersona.inference.requests import Finish, Generation, Request
from jaxpersona.serving.answers import Answers
from jaxpersona.serving.engine_loop import Snapshot
from jaxpersona.serving.errors import ApiError, disconnected
from jaxpersona.serving.service import Service

_log = logging.getLogger("jaxpersona.serving")
_REASONS: dict[Finish, str] = {"eos": "stop", "stop": "stop", "length": "length"}


class Form(Protocol):
    """How one kind of answer looks.

    Attributes:
      id_prefix: begins the answer's id.
      whole_object, chunk_object: values of ``object`` in a whole answer and in a piece of a stream.
    """

    id_prefix: str
    whole_object: str
    chunk_object: str

    def choice(self, index: int, generation: Generation, now: Snapshot) -> dict[str, Any]:
        """Returns a whole choice."""
        ...

    def opening(self, index: int, generation: Generation) -> dict[str, Any] | None:
        """Returns what a choice begins with in a stream, when its first token is there; None for nothing."""
        ...

    def delta(self, index: int, generation: Generation, before: Snapshot, now: Snapshot) -> dict[str, Any]:
        """Returns what is new in a choice since ``before``, in a stream."""
        ...


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an HTTP request asks for.

    Attributes:
      model: name of the model, as the request gives it.
      label: name of the persona for metrics and logs.
      requests: of the engine, one for each choice.
      prompt_field: field of the HTTP request that holds the prompts.
      choices: number of choices of each prompt, which are neighbours in ``requests``.
      stream, include_usage: as in ``Options``.
      persona: what ``model`` would be for the persona that answers, after conditions and marks; empty where prompts may differ.
    """

    model: str
    label: str
    requests: Sequence[Request]
    prompt_field: str
    choices: int
    stream: bool
    include_usage: bool
    persona: str = ""


async def respond(http: HttpRequest, service: Service, asked: Asked, form: Form) -> Response:
    """Submits the requests and returns the response, whose generations end when the client disconnects.

    Raises:
      ApiError: if the requests are refused, or a generation fails before the response has begun.
    """
    http.state.persona = asked.label
    answers = Answers(service.loop, service.metrics, asked.requests, asked.prompt_field)
    head = {"id": f"{form.id_prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
    head |= {"persona": asked.persona} if asked.persona else {}
    if asked.stream:
        return EventSourceResponse(_stream(service, answers, asked, form, {**head, "object": form.chunk_object}), sep="\n")
    with answers:
        done = await finished(http, answers)
        _log_texts(service, answers)
        choices = [form.choice(index, *pair) for index, pair in enumerate(zip(answers.generations, done, strict=True))]
    return JSONResponse({**head, "object": form.whole_object, "choices": choices, "usage": _usage(answers, asked)})


def finish_reason(now: Snapshot) -> str | None:
    """Returns OpenAI's name of the reason why an answer has ended; None while it runs."""
    return None if now.finish is None else _REASONS[now.finish]


async def finished(http: HttpRequest, answers: Answers) -> list[Snapshot]:
    """Waits for all answers.

    Raises:
      ApiError: if a generation fails, or the client has gone.
    """
    answering, leaving = asyncio.ensure_future(answers.finished()), asyncio.ensure_future(_disconnected(http))
    try:
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise disconnected()
        return answering.result()
    finally:
        for task in (answering, leaving):
            task.cancel()


async def _disconnected(http: HttpRequest) -> None:
    """Returns when the client has disconnected; the body must have been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _stream(service: Service, answers: Answers, asked: Asked, form: Form, head: dict[str, Any]) -> AsyncIterator[str]:
    """Yields the answer in pieces; its end, for whatever reason, ends the generations."""
    usage = {"usage": None} if asked.include_usage else {}

    def piece(choice: dict[str, Any]) -> str:
        return json.dumps({**head, "choices": [choice], **usage}, ensure_ascii=False)

    with answers:
        begun = Snapshot()
        told = [begun] * len(answers.generations)
        try:
            async for index, now in answers.changes():
                opening = form.opening(index, answers.generations[index]) if told[index] is begun else None
                if opening is not None:
                    yield piece(opening)
                if told[index] is begun or now.text != told[index].text or now.finish is not None:
                    yield piece(form.delta(index, answers.generations[index], told[index], now))
                    told[index] = now
        except ApiError as error:
            yield json.dumps(error.body())
            return
        _log_texts(service, answers)
        if asked.include_usage:
            yield json.dumps({**head, "choices": [], "usage": _usage(answers, asked)})
        yield "[DONE]"


def _log_texts(service: Service, answers: Answers) -> None:
    """Logs prompts and answers, if the server was told to."""
    if service.settings.log_texts:
        for generation in answers.generations:
            _log.info("prompt %r, answer %r", service.tokenizer.decode(generation.prompt_ids), generation.text)


def _usage(answers: Answers, asked: Asked) -> dict[str, int]:
    """Returns the numbers of tokens; a prompt with several choices counts once."""
    prompts = sum(len(generation.prompt_ids) for generation in answers.generations[:: asked.choices])
    new = sum(len(generation.ids) for generation in answers.generations)
    return {"prompt_tokens": prompts, "completion_tokens": new, "total_tokens": prompts + new}
