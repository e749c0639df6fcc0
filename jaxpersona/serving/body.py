"""Reads the body of a request: JSON of a limited size."""

import json
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from jaxpersona.core import json_text
from jaxpersona.serving.errors import ApiError, disconnected

_MOST_DIGITS = 18
"""Of a whole number, which then fits 64 bits and is no overflow as a float."""


async def read_object(http: HttpRequest, most: int) -> dict[str, Any]:
    """Returns the JSON object in the body of a request.

    Requires the content type of JSON: web pages of other origins cannot send it without the server's leave.

    Args:
      most: largest size in bytes.

    Raises:
      ApiError: 415 for another content type, 413 for a larger body, 400 for a body that is no JSON object, 499 if the client
        has gone.
    """
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"the content type is {kind or 'missing'}; send application/json", code="unsupported_media_type")
    try:
        body = json_text.parse(await _read(http, most), parse_int=_whole_number)
        json.dumps(body, ensure_ascii=False).encode()  # no answer could repeat an unpaired surrogate
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({error})", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a JSON object", code="invalid_json")
    return body


async def _read(http: HttpRequest, most: int) -> bytearray:
    raw = bytearray()
    try:
        async for piece in http.stream():
            raw += piece
            if len(raw) > most:
                raise ApiError(413, f"the request is larger than {most} bytes; send less at once", code="request_too_large")
    except ClientDisconnect:
        raise disconnected() from None
    return raw


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits; at most {_MOST_DIGITS} are read")
    return int(digits)
