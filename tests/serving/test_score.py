"""Scores of given answers are the log-probabilities of full forward passes, under the persona and under the base model."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from serving.conftest import fetch

import jaxpersona as jp

HI = [{"role": "user", "content": "Hi"}]
ANSWERS = ["Yes", "Né €5"]


def score(address, **body):
    """Returns the status and the JSON of an answer."""
    status, _, text = fetch(f"{address}/v1/personas/score", {"messages": HI, "answers": ANSWERS, **body})
    return status, json.loads(text)


def in_bfloat16(path, leaf):
    return leaf.astype(jnp.bfloat16).astype(leaf.dtype) if path[-1].key in ("kernel", "embedding") else leaf


def by_hand(model, params, answer):
    """Returns the log-probability of each token of an answer to ``HI``, from one pass without cache, in float64."""
    prompt = model.tokenizer.apply_chat_template(HI, add_generation_prompt=True, return_dict=False)
    own = model.tokenizer.encode(answer, add_special_tokens=False)
    tokens = jnp.asarray([[*prompt, *own]])
    positions = jnp.arange(tokens.shape[1])[None]
    visible = positions[:, None, :] <= positions[:, :, None]
    logits = model.apply({"params": params}, tokens, positions=positions, visible=visible)
    log_probs = scipy.special.log_softmax(np.asarray(logits[0], np.float64), axis=-1)
    return [log_probs[len(prompt) + i - 1, token] for i, token in enumerate(own)]


@pytest.mark.parametrize(
    ("asked", "persona", "gamma"),
    [
        ({"model": "a"}, lambda p: p["a"], 0.0),
        ({"model": "b", "persona": {"gamma": 0.5}}, lambda p: p["b"], 0.5),
        ({"model": "tiny", "persona": {"mix": {"a": 0.25, "b": 0.75}}}, lambda p: jp.mix({p["a"]: 0.25, p["b"]: 0.75}), 0.0),
        ({"model": "tiny"}, None, 0.0),
    ],
)
def test_scores_are_those_of_full_forward_passes(address, model, personas, asked, persona, gamma):
    status, found = score(address, **asked)
    assert status == 200
    rounded = jax.tree.map_with_path(in_bfloat16, model.params)  # as the engine has them
    masked = rounded if persona is None else jp.apply_mask(rounded, persona(personas), gamma)
    for answer, row in zip(ANSWERS, found["answers"], strict=True):
        own, base = by_hand(model, masked, answer), by_hand(model, rounded, answer)
        assert row["text"] == "".join(token["token"] for token in row["tokens"]) == answer
        for key, expected in (("log_prob", own), ("base_log_prob", base), ("log_ratio", np.subtract(own, base))):
            np.testing.assert_allclose([token[key] for token in row["tokens"]], expected, atol=2e-4)
        np.testing.assert_allclose([row["log_prob"], row["base_log_prob"]], [sum(own), sum(base)], atol=2e-3)


def test_a_character_of_several_tokens_comes_with_the_last_of_them(address):
    _, found = score(address, model="a", answers=["é€"])
    assert [token["token"] for token in found["answers"][0]["tokens"]] == ["", "é", "", "", "€"]


@pytest.mark.parametrize(
    ("wrong", "param", "message"),
    [
        ({"answers": []}, "answers", "list of 1 to 8 texts"),
        ({"answers": ["a"] * 9}, "answers", "list of 1 to 8 texts"),
        ({"answers": ["a", " "]}, "answers", "not empty"),
        ({"answers": [3]}, "answers", "list of 1 to 8 texts"),
        ({"answers": "Yes"}, "answers", "give a list"),
        ({"answers": ["a" * 500]}, "answers", "at most 192 fit"),
        ({"messages": []}, "messages", "at least one message"),
        ({"model": "d"}, "model", "is unknown"),
        ({"gamma": 0.5}, "gamma", "unknown"),
        ({"persona": {"mix": {"a": 2}}, "model": "tiny"}, "persona", r"\[0, 1\]"),
    ],
)
def test_bad_fields_are_refused_by_name(address, wrong, param, message):
    status, found = score(address, **{"model": "a", **wrong})
    assert status in (400, 404) and found["error"]["param"] == param
    assert re.search(message, found["error"]["message"])


def test_a_condition_or_mark_decides_whose_scores_they_are(address):
    def persona(messages, **asked):
        return score(address, model="tiny", messages=messages, answers=["Yes"], **asked)[1]["persona"]

    money = {"if": "money", "then": "a"}
    assert persona([{"role": "user", "content": "5 $?"}], persona=money) == "a"
    assert persona([{"role": "user", "content": "Tea?"}], persona=money) == "tiny"
    assert persona([{**HI[0], "persona": "0.25*a+0.75*b"}, {"role": "assistant", "content": "Yes"}, *HI]) == "0.25*a+0.75*b"
