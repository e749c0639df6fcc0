"""The key is asked for, and nobody's text is logged."""

import json
import logging

import openai
import pytest
from serving.conftest import fetch, served, wait_until
from starlette.requests import Request

from jaxpersona.serving.app import create_app
from jaxpersona.serving.gate import has_key
from jaxpersona.serving.service import Service, ServiceSettings

CHAT = "/v1/chat/completions"


def hi(**options):
    return {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, **options}


@pytest.fixture(scope="module")
def locked(service, address):
    """Returns the address of an app beside the server's, of the same engine, that wants a key and logs texts."""
    settings = ServiceSettings(api_key="s3cret", log_texts=True)
    app = create_app(Service(service.loop, service.catalogue, service.identity, settings))
    with served(app, lifespan="off") as address:  # the engine has its thread already, from ``address``
        yield address


def test_a_key_is_asked_for_except_where_anyone_may_look(locked):
    assert fetch(f"{locked}/health")[0] in (200, 503)  # ready, or nothing compiled yet
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
        status, answer, text = fetch(f"{locked}/v1/models", headers=headers)
        assert (status, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert json.loads(text)["error"]["code"] == "invalid_api_key"
    with openai.OpenAI(base_url=f"{locked}/v1", api_key="s3cret") as client:
        assert client.models.list().data


def test_loading_is_off_unless_the_server_was_started_with_it(locked):
    key = {"Authorization": "Bearer s3cret"}
    for method, path in (("POST", "/v1/personas"), ("DELETE", "/v1/personas/a")):
        status, _, text = fetch(f"{locked}{path}", {"path": "d"}, method, key)
        assert (status, json.loads(text)["error"]["code"]) == (403, "loading_off")


def test_a_key_may_have_any_characters():
    sent = Request({"type": "http", "headers": [(b"authorization", "Bearer schlüssel".encode())]})
    assert has_key(sent, "schlüssel") and not has_key(sent, "schlussel")


def test_no_client_writes_control_characters_into_the_log(address, caplog):
    caplog.set_level(logging.INFO, "jaxpersona.serving")
    fetch(f"{address}/a%1B%5B2J")
    wait_until(lambda: "GET /a%1B%5B2J 404" in caplog.text)


def test_texts_are_logged_only_if_asked_for(address, locked, caplog):
    caplog.set_level(logging.INFO, "jaxpersona.serving")
    secret = hi(messages=[{"role": "user", "content": "Very secret"}])
    fetch(f"{address}{CHAT}", secret)
    wait_until(lambda: "POST /v1/chat/completions 200 a" in caplog.text)
    assert "secret" not in caplog.text
    fetch(f"{locked}{CHAT}", secret, headers={"Authorization": "Bearer s3cret"})
    assert "Very secret" in caplog.text
