"""Answers ``POST /v1/chat/completions``."""

import dataclasses
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from jaxpersona.inference.requests import Generation
from jaxpersona.inference.turns import turn_ids
from jaxpersona.serving.body import read_object
from jaxpersona.serving.catalogue import Catalogue
from jaxpersona.serving.engine_loop import Snapshot
from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.log_probs import chat_log_probs
from jaxpersona.serving.options import take_alternatives, take_options
from jaxpersona.serving.persona_spec import PersonaSpec, take_mark, take_persona
from jaxpersona.serving.respond import Asked, finish_reason, respond
from jaxpersona.serving.service import Service
from jaxpersona.serving.token_texts import TokenTexts

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Roles of messages, and what the chat template calls them."""


@dataclasses.dataclass(frozen=True)
class ChatForm:
    """Chat completions as OpenAI's clients read them.

    Attributes:
      texts: texts of single tokens.
    """

    texts: TokenTexts
    id_prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def choice(self, index: int, generation: Generation, now: Snapshot) -> dict[str, Any]:
        """Returns a whole choice."""
        message = {"role": "assistant", "content": now.text, "refusal": None}
        log_probs = self._log_probs(generation, Snapshot(), now)
        return {"index": index, "message": message, "logprobs": log_probs, "finish_reason": finish_reason(now)}

    def opening(self, index: int, generation: Generation) -> dict[str, Any]:
        """Returns the role, with which a choice begins."""
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}

    def delta(self, index: int, generation: Generation, before: Snapshot, now: Snapshot) -> dict[str, Any]:
        """Returns the new text."""
        new, log_probs = now.text[len(before.text) :], self._log_probs(generation, before, now)
        delta = {"content": new} if new else {}
        return {"index": index, "delta": delta, "logprobs": log_probs, "finish_reason": finish_reason(now)}

    def _log_probs(self, generation: Generation, before: Snapshot, now: Snapshot) -> dict[str, Any] | None:
        """Returns the log-probabilities of the tokens since ``before``, also of the one that ended the answer."""
        if generation.request.alternatives is None:
            return None
        return chat_log_probs(self.texts, generation.scores[before.tokens : None if now.finish else now.tokens])


async def chat_completions(http: HttpRequest) -> Response:
    """Answers the next turn of a conversation."""
    service: Service = http.app.state.service
    asked = parse_chat(await read_object(http, service.settings.max_body_bytes), service)
    return await respond(http, service, asked, ChatForm(service.token_texts))


def parse_chat(body: dict[str, Any], service: Service) -> Asked:
    """Reads a chat request.

    Raises:
      ApiError: 400 or 404, naming the field that is wrong.
    """
    fields = Fields(body)
    options = take_options(fields)
    persona, messages = take_conversation(fields, service)
    alternatives = _take_log_probs(fields)
    given = {name: fields.get(name, int, 0) for name in ("max_completion_tokens", "max_tokens") if fields.given(name)}
    fields.finish()
    service.check_count("messages", options.choices)
    ids = fields.checked("messages", lambda: turn_ids(service.tokenizer, messages, service.settings.chat))
    room = service.loop.engine.max_length - len(ids)
    name, new = next(iter(given.items()), ("max_tokens", room))
    service.check_room("messages", name, len(ids), new)
    requests = options.requests(ids, persona, new, alternatives)
    service.check_request(fields, requests[0])
    asked = Asked(body["model"], persona.label, requests, "messages", options.choices, options.stream, options.include_usage)
    return dataclasses.replace(asked, persona=persona.name(service.catalogue.base))


def _take_log_probs(fields: Fields) -> int | None:
    """Returns the number of most probable tokens to report; None if no log-probabilities are asked for."""
    wanted, given = fields.get("logprobs", bool, False), fields.given("top_logprobs")
    count = take_alternatives(fields, "top_logprobs")
    if given and not wanted:
        raise fields.error("top_logprobs", "top_logprobs is given without logprobs; set logprobs to true")
    return count if wanted else None


def take_conversation(fields: Fields, service: Service) -> tuple[PersonaSpec, list[dict[str, str]]]:
    """Takes the messages out of a request's fields, and the persona that answers them.

    That is the persona of the last message that is marked with one, or else the request's. A condition is about the last message
    of the user.

    Raises:
      ApiError: 400 or 404, naming the field that is wrong.
    """
    persona, where = take_persona(fields, service.catalogue), "persona"
    marked = take_messages(fields, service.catalogue)
    for number, (mark, _) in enumerate(marked):
        if mark is not None:
            persona, where = mark, f"messages[{number}].persona"
    messages = [message for _, message in marked]
    service.check_size("messages", (message["content"] for message in messages))
    prompt = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    return service.settle(persona, prompt, where), messages


def take_messages(fields: Fields, catalogue: Catalogue) -> list[tuple[PersonaSpec | None, dict[str, str]]]:
    """Takes the messages of a conversation, each with the persona that it is marked with.

    Raises:
      ApiError: 400 or 404, naming the part that is wrong.
    """
    messages = fields.get("messages", list, [])
    if not messages:
        raise fields.error("messages", "messages is missing or empty; give at least one message")
    found = [_message(message, f"messages[{number}]", catalogue) for number, message in enumerate(messages)]
    if found[-1][1]["role"] == "assistant":
        raise fields.error("messages", "the last message is the assistant's, to which nobody has answered; end with the user's")
    return found


def _message(message: Any, where: str, catalogue: Catalogue) -> tuple[PersonaSpec | None, dict[str, str]]:
    """Returns the persona that a message is marked with, and its role and text."""
    if not isinstance(message, dict):
        raise ApiError(400, f"{where} is not an object", where, "invalid_value")
    fields = Fields(message, where)
    mark = take_mark(fields, catalogue)
    role, content = fields.get("role", str, ""), fields.take("content")
    fields.take("name")
    fields.take("refusal")
    for name in ("tool_calls", "function_call", "audio", "annotations"):
        fields.refuse_unless(name, ([],), "this server does not support it")
    fields.finish()
    if role not in _ROLES:
        raise fields.error("role", f"{where}.role is {role!r}; give one of {', '.join(_ROLES)}")
    return mark, {"role": _ROLES[role], "content": _text(content, fields)}


def _text(content: Any, fields: Fields) -> str:
    """Returns the text of a message, which may come in parts."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(_is_text(part) for part in parts):
        raise fields.error("content", f"{fields.path('content')} is not text; give a text, or parts of type text")
    return "".join(part["text"] for part in parts)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
