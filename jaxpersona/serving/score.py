"""Answers ``POST /v1/personas/score``: how likely given answers are under a persona and under the base model, token by token."""

import codecs
import dataclasses
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError
from jaxpersona.data.text import common_prefix_length, encode
from jaxpersona.inference.requests import Generation, Request
from jaxpersona.inference.turns import turn_ids
from jaxpersona.serving.answers import Answers
from jaxpersona.serving.body import read_object
from jaxpersona.serving.chat import take_conversation
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.persona_spec import PersonaSpec
from jaxpersona.serving.respond import finished
from jaxpersona.serving.service import Service
from jaxpersona.serving.token_texts import TokenTexts

MOST_ANSWERS = 8
"""Largest number of answers in a request."""
_BASE = PersonaSpec({})


@dataclasses.dataclass(frozen=True)
class Scored:
    """A request to score answers.

    Attributes:
      persona: what the request asks for, after conditions and marks.
      answers: texts to score.
      prompt: token ids of the conversation before the answers.
      whole: token ids of the conversation with each answer.
    """

    persona: PersonaSpec
    answers: list[str]
    prompt: list[int]
    whole: list[list[int]]


async def score_answers(http: HttpRequest) -> JSONResponse:
    """Scores answers to a conversation: fields ``model``, ``persona`` and ``messages`` as of a chat, and ``answers``."""
    service: Service = http.app.state.service
    asked = parse_score(await read_object(http, service.settings.max_body_bytes), service)
    personas = [asked.persona, _BASE] if asked.persona.shares else [_BASE]
    requests = [_request(persona, ids) for persona in personas for ids in asked.whole]
    http.state.persona = asked.persona.label
    with Answers(service.loop, service.metrics, requests, "answers") as answers:
        await finished(http, answers)
        found = [_log_probs(each, len(asked.prompt)) for each in answers.generations]
    own, base = found[: len(asked.whole)], found[-len(asked.whole) :]
    texts, start = service.token_texts, len(asked.prompt)
    parts = zip(asked.answers, asked.whole, own, base, strict=True)
    rows = [_row(texts, text, ids[start:], *log_probs) for text, ids, *log_probs in parts]
    return JSONResponse({"object": "score", "persona": asked.persona.name(service.catalogue.base), "answers": rows})


def parse_score(body: dict[str, Any], service: Service) -> Scored:
    """Reads a request.

    Raises:
      ApiError: 400 or 404, naming the field that is wrong.
    """
    fields = Fields(body)
    persona, messages = take_conversation(fields, service)
    answers = fields.get("answers", list, [])
    fields.finish()
    if not 1 <= len(answers) <= MOST_ANSWERS or not all(isinstance(text, str) and text.strip() for text in answers):
        raise fields.error("answers", f"answers is no list of 1 to {MOST_ANSWERS} texts that are not empty")
    service.check_count("answers", len(answers) * (2 if persona.shares else 1))
    service.check_size("answers", answers)
    chat, tokenizer = service.settings.chat, service.tokenizer
    prompt = fields.checked("messages", lambda: turn_ids(tokenizer, messages, chat))
    whole = fields.checked("answers", lambda: [_with_answer(tokenizer, messages, prompt, text, chat) for text in answers])
    most = service.loop.engine.max_length
    for number, ids in enumerate(whole):
        if len(ids) == len(prompt):
            raise fields.error("answers", f"answers[{number}] has no tokens; give a text that the model can read")
        if len(ids) > most:
            raise fields.error("answers", f"answers[{number}] and the prompt have {len(ids)} tokens; at most {most} fit")
    service.check_request(fields, _request(persona, prompt))
    return Scored(persona, answers, prompt, whole)


def _request(persona: PersonaSpec, ids: list[int]) -> Request:
    return Request(ids, dict(persona.shares) or None, persona.gamma, max_new_tokens=0, alternatives=0, prompt_scored=True)


def _log_probs(generation: Generation, start: int) -> list[float]:
    """Returns the log-probabilities of a text's tokens from ``start`` on; there are some before, so that each has one."""
    return [score.log_prob for score in generation.prompt_scores[start:] if score is not None]


def _with_answer(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prompt: list[int], answer: str, chat: bool
) -> list[int]:
    """Returns the token ids of a conversation and an answer, without an end-of-turn token.

    Raises:
      InputError: if the answer has characters that no tokenizer takes, or changes the tokens of the conversation.
    """
    if chat:
        return prompt + encode(tokenizer, answer, add_special_tokens=False)
    whole = turn_ids(tokenizer, [*messages, {"role": "assistant", "content": answer}], chat)
    if common_prefix_length(prompt, whole) < len(prompt):
        raise InputError(f"the answer {answer[:40]!r} merges with the last word of the messages; end them with punctuation")
    return whole


def _row(texts: TokenTexts, text: str, ids: list[int], own: list[float], base: list[float]) -> dict[str, Any]:
    """Returns the scores of one answer: total log-probabilities in nats, and each token's."""
    tokens = [
        {"token": piece, "log_prob": log_prob, "base_log_prob": base_log_prob, "log_ratio": log_prob - base_log_prob}
        for piece, log_prob, base_log_prob in zip(pieces(texts, ids, text), own, base, strict=True)
    ]
    totals = {name: sum(token[name] for token in tokens) for name in ("log_prob", "base_log_prob")}
    return {"text": text, **totals, "tokens": tokens}


def pieces(texts: TokenTexts, ids: list[int], answer: str) -> list[str]:
    """Returns the text that each token of an answer adds; a character of several tokens comes with the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found = [decoder.decode(texts.raw(token)) for token in ids]
    if not answer.startswith(" "):
        found[0] = found[0].removeprefix(" ")  # SentencePiece puts one before every text
    return found
