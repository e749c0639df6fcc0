"""A client that leaves ends its generations; one that stays gets pieces that make up the whole answer."""

import asyncio
import http.client
import json
import urllib.parse

import openai
import pytest
from serving.conftest import figure, wait_until

from jaxpersona.serving.engine_loop import Snapshot
from jaxpersona.serving.respond import finish_reason

JSON = {"Content-Type": "application/json"}
LONG = 150


def chat(model, **options):
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": LONG, **options}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_disconnects_frees_its_row(address, service, stream, monkeypatch):
    step, watched = service.loop.engine.step, service.loop._watched

    def step_if_new_or_cancelled():  # an answer of a fast engine would be whole before its client is gone
        wait_until(lambda: all(one.cancelled or not one.ids for one in list(watched)))
        return step()

    monkeypatch.setattr(service.loop.engine, "step", step_if_new_or_cancelled)
    before = figure(address, "jaxpersona_answers_total", persona="c", finish="cancelled")
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("c", stream=stream)), JSON)
    if stream:
        assert connection.getresponse().read(10)
    else:
        wait_until(service.loop.unfinished)
    connection.close()
    wait_until(lambda: figure(address, "jaxpersona_answers_total", persona="c", finish="cancelled") == before + 1)
    assert service.loop.engine.running == []


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
