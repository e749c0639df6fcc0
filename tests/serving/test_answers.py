"""Answers are told whole to whoever listens, early or late; what does not fit into the queue is refused."""

import asyncio
import contextlib
import json
import threading

import pytest
from serving.conftest import fetch, wait_until

from jaxpersona.core.errors import InputError
from jaxpersona.inference.requests import Request
from jaxpersona.serving.answers import Answers, failed


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_lost_by_listening_late(address, service, alone, late):
    requests = [Request("Hi", "a", max_new_tokens=new) for new in (1, 4)]

    async def listen():
        with Answers(service.loop, service.metrics, requests, "prompt") as answers:
            while late and any(snapshot.finish is None for snapshot in answers._latest):
                await asyncio.sleep(0.01)
            return [(index, now) async for index, now in answers.changes()]

    changes = asyncio.run(listen())
    for index, expected in enumerate(alone.generate(requests)):
        *_, last = [now for number, now in changes if number == index]
        assert (last.text, last.tokens, last.finish) == (expected.text, len(expected.ids), "length")


@contextlib.contextmanager
def one_waits(address, service):
    """Holds the engine while a request waits in its queue; yields the address and the body of that request."""
    place, chat = (
        f"{address}/v1/chat/completions",
        {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8},
    )
    go_on = threading.Event()
    blocked = service.loop.call(go_on.wait)
    waiting = threading.Thread(target=fetch, args=(place, chat))
    waiting.start()
    wait_until(lambda: service.loop.engine.waiting == 1)
    yield place, chat
    go_on.set()
    waiting.join()
    blocked.result()


def test_a_full_queue_is_429_and_says_when_to_retry(address, service, monkeypatch):
    monkeypatch.setattr(service.loop.engine, "queue_limit", 1)
    with one_waits(address, service) as (place, chat):
        status, headers, text = fetch(place, chat)
        several = fetch(place, {**chat, "n": 2})
    assert (status, headers["Retry-After"], json.loads(text)["error"]["code"]) == (429, "1", "queue_full")
    assert (several[0], json.loads(several[2])["error"]["code"]) == (400, "too_many")
    assert service.loop.engine.waiting == 0


def test_a_request_that_fits_in_part_is_refused_whole(address, service, monkeypatch, caplog):
    monkeypatch.setattr(service.loop.engine, "queue_limit", 2)
    with one_waits(address, service) as (place, chat):
        status, _, _ = fetch(place, {**chat, "n": 2})
    wait_until(lambda: not service.loop.unfinished())
    assert fetch(f"{address}/health")[0] == 200  # after what the cancelled answer has reported
    assert status == 429 and not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("logits are not finite"), "logits are not finite"),
        (MemoryError("too large"), "out of memory (too large)"),
        (KeyError("secret"), "the server failed to answer; its log says why"),
        (None, "the server failed to answer; its log says why"),
    ],
)
def test_errors_of_ours_are_told_and_others_are_for_the_log(error, message):
    told = failed(error)
    assert told.status == 500 and told.message.startswith(message) and "secret" not in told.message
