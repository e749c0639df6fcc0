"""The models that the server lists are the base model and the personas."""

import json

from serving.conftest import fetch


def test_models_are_listed_with_parent_and_root(client):
    listed = {model.id: model for model in client.models.list()}
    assert list(listed)[:4] == ["tiny", "a", "b", "c"]
    assert (listed["tiny"].parent, listed["a"].parent) == (None, "tiny")
    assert listed["a"].root.endswith("quick/masks/a")
    assert client.models.retrieve("tiny:b").id == "b"


def test_an_unknown_model_is_404_and_names_those_there_are(address):
    status, _, text = fetch(f"{address}/v1/models/d")
    error = json.loads(text)["error"]
    assert (status, error["param"]) == (404, "model") and "models: tiny, a, b, c" in error["message"]
