"""The body of a request is a JSON object of a limited size, or is refused with the right status."""

import asyncio

import pytest
from starlette.requests import Request

from jaxpersona.serving.body import read_object
from jaxpersona.serving.errors import ApiError


def read(*pieces, kind=b"application/json", most=30):
    """Returns what is read of a body that arrives in pieces."""
    events = iter({"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces)

    async def receive():
        return next(events)

    headers = [] if kind is None else [(b"content-type", kind)]
    return asyncio.run(read_object(Request({"type": "http", "headers": headers}, receive), most))


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON; charset=utf-8"])
def test_an_object_is_read_from_all_its_pieces(kind):
    assert read(b'{"a": ', b'"\xc3\xa9"', b"}", kind=kind) == {"a": "\u00e9"}


@pytest.mark.parametrize(
    ("pieces", "kind", "status", "message"),
    [
        ([b"{"], b"application/json", 400, "the body is not JSON"),
        ([b"\xff"], b"application/json", 400, "the body is not JSON"),
        ([b'{"a": "\\ud800"}'], b"application/json", 400, "the body is not JSON .*surrogates"),
        ([b'{"a": ' + b"9" * 19 + b"}"], b"application/json", 400, "a number has 19 digits; at most 18 are read"),
        ([b"[1]"], b"application/json", 400, "the body is not a JSON object"),
        ([b"{}"], b"text/plain", 415, "the content type is text/plain; send application/json"),
        ([b"{}"], None, 415, "the content type is missing"),
        ([b" " * 15, b" " * 16], b"application/json", 413, "the request is larger than 30 bytes"),
    ],
)
def test_other_bodies_are_refused(pieces, kind, status, message):
    with pytest.raises(ApiError, match=message) as refused:
        read(*pieces, kind=kind)
    assert refused.value.status == status


def test_a_client_that_leaves_while_it_sends_is_no_bug():
    async def receive():
        return {"type": "http.disconnect"}

    http = Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
    with pytest.raises(ApiError, match="the client has disconnected"):
        asyncio.run(read_object(http, 30))


def test_objects_too_deep_to_read_are_refused():
    with pytest.raises(ApiError, match="the body is not JSON"):
        read(b'{"a":' + b"[" * 200_000, most=10**6)
