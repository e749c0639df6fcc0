"""A client that leaves ends its generations; one that stays gets pieces that make up the whole answer."""

import asyncio
import gc
import http.client
import json
import urllib.parse

import openai
import pytest
from serving.conftest import figure, wait_until

from jaxpersona.serving.app import create_app
from jaxpersona.serving.engine_loop import Snapshot
from jaxpersona.serving.respond import finish_reason

JSON = {"Content-Type": "application/json"}
LONG = 150


def chat(model, **options):
    """Asks greedily, because a sampled answer may end with its first token."""
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": LONG, "temperature": 0, **options}


@pytest.fixture
def cancelled(address, service, monkeypatch):
    """Holds the engine from the first token on until the answer is cancelled; returns a function that waits until it counts.

    An answer of a fast engine would be whole before its client is gone.
    """
    step, watched = service.loop.engine.step, service.loop._watched

    def step_if_new_or_cancelled():
        wait_until(lambda: all(one.cancelled or not one.ids for one in list(watched)))
        return step()

    def number():
        return figure(address, "jaxpersona_answers_total", persona="c", finish="cancelled")

    wait_until(lambda: service.loop.unfinished() == 0)
    monkeypatch.setattr(service.loop.engine, "step", step_if_new_or_cancelled)
    before = number()
    return lambda: wait_until(lambda: number() == before + 1)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_disconnects_frees_its_row(address, service, stream, cancelled):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("c", stream=stream)), JSON)
    if stream:
        assert connection.getresponse().read(10)
    else:
        wait_until(service.loop.unfinished)
    connection.close()
    cancelled()
    assert service.loop.engine.running == []


def test_a_client_that_disconnects_while_a_piece_is_sent_frees_its_row(service, cancelled):
    """The generator of the pieces is suspended then, and somebody has to close it."""

    async def run():
        sending, read = asyncio.Event(), iter([json.dumps(chat("c", stream=True)).encode()])

        async def receive():
            for body in read:
                return {"type": "http.request", "body": body}
            await sending.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.body" and message["body"]:
                sending.set()
                await asyncio.Event().wait()

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "root_path": ""}
        scope |= {"headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http"}
        await create_app(service)(scope, receive, send)
        await asyncio.to_thread(cancelled)

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()


def test_a_client_may_cancel_an_asynchronous_stream(address, service):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(**chat("a"), stream=True)
            async for _ in stream:
                break
            await stream.close()

    asyncio.run(ask())
    wait_until(lambda: service.loop.unfinished() == 0)


@pytest.mark.parametrize(("finish", "reason"), [(None, None), ("eos", "stop"), ("stop", "stop"), ("length", "length")])
def test_ends_have_the_names_of_openai(finish, reason):
    assert finish_reason(Snapshot(finish=finish)) == reason
