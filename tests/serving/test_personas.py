"""Personas come and go while the server runs, checked against the model, without compiling anything."""

import json
import threading

import openai
import pytest
from random_masks import random_masks
from serving.conftest import fetch, wait_until

from jaxpersona.benchmarks.compilations import Compilations
from jaxpersona.inference.requests import Request
from jaxpersona.masks.bundle import save_masks

HI = [{"role": "user", "content": "Hi"}]
NEW = 4


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("bundles")
    for name, fingerprint, seed in (("d", model.fingerprint, 7), ("e", model.fingerprint, 8), ("of_another", "0", 7)):
        save_masks(folder / name, random_masks(model.params, seed, 0.6), {"fingerprint": fingerprint, "model": "tiny"})
    return folder


def test_a_persona_is_loaded_answers_and_is_removed(address, client, alone, model, bundles):
    for _ in range(2):  # compiles; a row's first request and those after another have programs of their own
        client.chat.completions.create(model="a", messages=HI, max_tokens=NEW, temperature=0)
    # Under one name: the second's answers are not the first's. The first may compile what puts masks into the bank.
    for bundle, seed, compiled in (("d", 7, True), ("e", 8, False), ("d", 7, False)):
        status, _, text = fetch(f"{address}/v1/personas", {"path": str(bundles / bundle), "name": "d"})
        assert (status, json.loads(text)["parent"]) == (201, "tiny")
        with Compilations() as compilations:
            answer = client.chat.completions.create(model="d", messages=HI, max_tokens=NEW, temperature=0)
        assert compiled or compilations.count == 0
        alone.add_persona("d", random_masks(model.params, seed, 0.6))
        [expected] = alone.generate([Request("Hi", "d", max_new_tokens=NEW)])
        alone.remove_persona("d")
        assert answer.choices[0].message.content == expected.text
        assert "d" in [entry.id for entry in client.models.list()]
        status, _, text = fetch(f"{address}/v1/personas/tiny:d", method="DELETE")
        assert (status, json.loads(text)) == (200, {"id": "d", "object": "model", "deleted": True})
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="d", messages=HI)


def test_removal_waits_for_running_requests_and_refuses_new_ones(address, service, bundles):
    fetch(f"{address}/v1/personas", {"path": str(bundles / "d")})
    asked = {"model": "d", "messages": HI, "max_tokens": 30}
    answers, go_on = [], threading.Event()
    blocked = service.loop.call(go_on.wait)
    running = threading.Thread(target=lambda: answers.append(fetch(f"{address}/v1/chat/completions", asked)))
    running.start()
    wait_until(lambda: service.loop.engine.uses("d"))
    removing = threading.Thread(target=lambda: answers.append(fetch(f"{address}/v1/personas/d", method="DELETE")))
    removing.start()
    wait_until(lambda: "d" not in service.catalogue.entries)
    assert fetch(f"{address}/v1/chat/completions", asked)[0] == 404
    go_on.set()
    running.join()
    removing.join()
    blocked.result()
    assert [status for status, _, _ in answers] == [200, 200]
    assert "d" not in service.loop.engine.personas


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "path is missing"),
        ({"path": "nowhere"}, "nowhere is not a mask bundle"),
        ({"path": "of_another"}, "was made for tiny with other weights"),
        ({"path": "d", "name": "a"}, "there is a model 'a' already"),
        ({"path": "d", "name": "0.5*a"}, "is none for a persona"),
        ({"path": "d", "nmae": "x"}, "did you mean 'name'?"),
    ],
)
def test_what_does_not_belong_is_refused(address, service, bundles, body, message):
    body = {**body, "path": str(bundles / body["path"])} if "path" in body else body
    status, _, text = fetch(f"{address}/v1/personas", body)
    assert status == 400 and message in json.loads(text)["error"]["message"]
    assert list(service.catalogue.entries) == list(service.loop.engine.personas) == ["a", "b", "c"]


def test_an_unknown_persona_cannot_be_removed(address):
    assert fetch(f"{address}/v1/personas/zzz", method="DELETE")[0] == 404
