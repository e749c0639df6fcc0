"""Answers ``/tokenize``, ``/detokenize`` and ``/tokenizer_info``, as vLLM does and lm-eval asks."""

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from jaxpersona.core.errors import InputError
from jaxpersona.data.chat_template import template_of
from jaxpersona.data.text import encode
from jaxpersona.inference.turns import turn_ids
from jaxpersona.serving.body import read_object
from jaxpersona.serving.chat import take_messages
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.service import Service


async def tokenize(http: HttpRequest) -> JSONResponse:
    """Returns the token ids of a text (``prompt``), or of a conversation up to its next answer (``messages``)."""
    service: Service = http.app.state.service
    fields = Fields(await read_object(http, service.settings.max_body_bytes))
    fields.take("model")  # all models have one tokenizer
    with_texts, special = fields.get("return_token_strs", bool, False), fields.get("add_special_tokens", bool, True)
    if fields.given("messages"):
        messages = [message for _, message in take_messages(fields, service.catalogue)]
        ids = fields.checked("messages", lambda: turn_ids(service.tokenizer, messages, service.settings.chat))
    else:
        prompt = fields.get("prompt", str, None)
        if prompt is None:
            raise fields.error("prompt", "prompt and messages are missing; give one")
        ids = fields.checked("prompt", lambda: encode(service.tokenizer, prompt, add_special_tokens=special))
    fields.finish()
    texts = [service.token_texts.text(token) for token in ids] if with_texts else None
    return JSONResponse({"count": len(ids), "max_model_len": service.loop.engine.max_length, "tokens": ids, "token_strs": texts})


async def detokenize(http: HttpRequest) -> JSONResponse:
    """Returns the text of token ids (``tokens``), special tokens included."""
    service: Service = http.app.state.service
    fields = Fields(await read_object(http, service.settings.max_body_bytes))
    fields.take("model")
    tokens: list[Any] | None = fields.get("tokens", list, None)
    fields.finish()
    if tokens is None or not all(type(token) is int for token in tokens):
        raise fields.error("tokens", "tokens is missing or no list of token ids")
    fields.checked("tokens", lambda: service.loop.engine.check_ids(tokens))
    return JSONResponse({"prompt": str(service.tokenizer.decode(tokens))})


async def tokenizer_info(http: HttpRequest) -> JSONResponse:
    """Describes the tokenizer: its special tokens, its chat template, and the largest length of a text."""
    service: Service = http.app.state.service
    tokenizer = service.tokenizer
    try:
        template = template_of(tokenizer)
    except InputError:
        template = None
    specials = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    described = {"tokenizer_class": type(tokenizer).__name__, "model_max_length": service.loop.engine.max_length}
    return JSONResponse({**described, **specials, "chat_template": template})
