"""Generation with a cache gives the tokens of full forward passes, for prompts of any length in one batch."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import recorded

import jaxpersona as jp
from jaxpersona.models import decoding
from jaxpersona.models.decoding import generate_ids

STEPS = 10
PROMPTS = [[0, 40, 41, 42], [0, *range(60, 140)], [0, 200, 9]]
GREEDY = jp.Sampling()


@pytest.fixture(scope="module")
def forward(tiny_model):
    """Returns a function from a row of tokens to its logits [T, vocab], without a cache, at one compiled length."""
    apply = jax.jit(lambda params, tokens: tiny_model.apply({"params": params}, tokens)[0])

    def logits(params, tokens):
        padded = np.zeros((1, 128), np.int32)
        padded[0, : len(tokens)] = tokens
        return np.asarray(apply(params, padded))[: len(tokens)]

    return logits


@pytest.fixture(scope="module")
def greedy(tiny_model, forward):
    """Returns the likeliest continuation of each prompt, by full forward passes."""
    found = []
    for prompt in PROMPTS:
        tokens = list(prompt)
        for _ in range(STEPS):
            tokens.append(int(forward(tiny_model.params, tokens)[-1].argmax()))
        found.append(tokens[len(prompt) :])
    return found


def with_eos(model, *eos):
    return dataclasses.replace(model, eos_ids=eos)


def test_greedy_batch_equals_argmax_over_full_forward_passes(tiny_model, greedy):
    model = with_eos(tiny_model, 271)
    assert not any(271 in row for row in greedy)
    assert generate_ids(model, model.params, PROMPTS, STEPS, GREEDY) == greedy


def test_prompt_alone_gives_the_tokens_it_gives_in_a_batch(tiny_model, greedy):
    model = with_eos(tiny_model, 271)
    for row in (0, 2):
        assert generate_ids(model, model.params, PROMPTS[row : row + 1], STEPS, GREEDY) == [greedy[row]]


def test_rows_end_before_their_first_end_of_turn_token(tiny_model, greedy):
    eos = greedy[0][4], greedy[1][0]
    expected = []
    for row in greedy:
        stop = next((i for i, token in enumerate(row) if token in eos), STEPS)
        expected.append(row[:stop])
    assert expected[1] == []
    assert 0 < len(expected[0]) <= 4
    model = with_eos(tiny_model, *eos)
    assert generate_ids(model, model.params, PROMPTS, STEPS, GREEDY) == expected


def test_sampled_tokens_lie_in_the_top_k_of_full_forward_passes(tiny_model, forward):
    sampling, model = jp.Sampling(temperature=1.0, top_k=5), with_eos(tiny_model, 271)
    rows = generate_ids(model, model.params, PROMPTS, STEPS, sampling, seed=1)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        logits = forward(model.params, prompt + row)
        for step, token in enumerate(row):
            assert token in np.argsort(-logits[len(prompt) + step - 1])[:5]
    assert generate_ids(model, model.params, PROMPTS, STEPS, sampling, seed=1) == rows
    assert generate_ids(model, model.params, PROMPTS, STEPS, sampling, seed=2) != rows
    others = [PROMPTS[0], PROMPTS[2], PROMPTS[1]]
    assert generate_ids(model, model.params, others, STEPS, sampling, seed=1)[0] == rows[0]


def test_the_last_position_can_be_used(tiny_model, forward):
    prompt = [0, *([50] * 61)]
    config = dataclasses.replace(tiny_model.config, max_positions=64)
    model = dataclasses.replace(with_eos(tiny_model, 271), config=config)
    tokens = list(prompt)
    for _ in range(2):
        tokens.append(int(forward(tiny_model.params, tokens)[-1].argmax()))
    assert generate_ids(model, model.params, [prompt], 2, GREEDY) == [tokens[62:]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_end_the_generation_and_name_the_text(tiny_model, value):
    head = tiny_model.params["lm_head"]["kernel"].at[:, 7].set(value)
    with pytest.raises(jp.InputError, match=r"logits are not finite in text 1, after \d+ new tokens: the model overflows"):
        generate_ids(tiny_model, {**tiny_model.params, "lm_head": {"kernel": head}}, PROMPTS, STEPS, GREEDY)


def test_the_first_text_that_overflows_is_named(tiny_model):
    embedding = tiny_model.params["embed_tokens"]["embedding"].at[99].set(np.nan)
    params = {**tiny_model.params, "embed_tokens": {"embedding": embedding}}
    with pytest.raises(jp.InputError, match=r"logits are not finite in text 2, after 0 new tokens"):
        generate_ids(tiny_model, params, [[5, 6], [5, 99], [99]], 1, GREEDY)


def test_batches_keep_the_order_of_prompts_and_have_equal_shapes(tiny_model, monkeypatch):
    calls = []

    def fake(model, params, prompts, most, sampling, seed, numbers):
        assert seed == 7 and prompts == [asked[number] for number in numbers]
        calls.append((len(prompts), max(map(len, prompts))))
        return [[sum(prompt), most] for prompt in prompts]

    monkeypatch.setattr(decoding, "generate_ids", fake)
    asked = [[0, *range(3, 3 + length)] for length in (9, 2, 5, 1, 7) * 4]
    stage, steps = recorded()
    found = decoding.generate_batches(tiny_model, tiny_model.params, asked, 5, GREEDY, 7, stage)
    assert found == [[sum(prompt), 5] for prompt in asked]
    assert [rows for rows, _ in calls] == [10, 10]
    assert calls[0][1] <= min(len(prompt) for prompt in sorted(asked, key=len)[10:]) and steps == [(1, 2), (2, 2)]
