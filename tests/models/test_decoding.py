"""Generation with a cache says what full forward passes say, for prompts of any length in one batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.models.decoding import generate_ids

STEPS = 10
PROMPTS = [[0, 40, 41, 42], [0, *range(60, 140)], [0, 200, 9]]
GREEDY = jp.Sampling()


@pytest.fixture(scope="module")
def forward(tiny_model):
    """Logits [T, vocab] of a row without a cache, at one compiled length."""
    apply = jax.jit(lambda params, tokens: tiny_model.apply({"params": params}, tokens)[0])

    def logits(params, tokens):
        padded = np.zeros((1, 128), np.int32)
        padded[0, : len(tokens)] = tokens
        return np.asarray(apply(params, padded))[: len(tokens)]

    return logits


@pytest.fixture(scope="module")
def greedy(tiny_model, forward):
    """The likeliest continuation of each prompt, by whole forward passes."""
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


def test_generate_decodes_just_the_new_tokens(tiny_model):
    ids = tiny_model.tokenizer.encode("Tell me")
    new = generate_ids(tiny_model, tiny_model.params, [ids], STEPS, GREEDY)[0]
    assert len(new) <= STEPS
    found = jp.generate(tiny_model, ["Tell me"], chat=False, max_new_tokens=STEPS)
    assert found == [tiny_model.tokenizer.decode(new, skip_special_tokens=True)]


def test_chat_and_system_go_through_the_models_template(tiny_model):
    written_out = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    bare = jp.generate(tiny_model, [written_out], chat=False, max_new_tokens=STEPS)
    assert jp.generate(tiny_model, [" Hi "], system="Be brief.", max_new_tokens=STEPS) == bare
    assert jp.generate(tiny_model, ["Hi"], max_new_tokens=STEPS) != bare


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_persona_generates_as_the_masked_parameters_do(tiny_model, gamma):
    rng = np.random.default_rng(0)
    masks = jp.Masks.from_bool(jax.tree.map(lambda leaf: rng.random(leaf.shape) < 0.6, tiny_model.params))
    masked = dataclasses.replace(tiny_model, params=jp.apply_mask(tiny_model.params, masks, gamma))
    found = jp.generate(tiny_model, ["Hi"], persona=masks, gamma=gamma, max_new_tokens=STEPS)
    assert found == jp.generate(masked, ["Hi"], max_new_tokens=STEPS)
    assert found != jp.generate(tiny_model, ["Hi"], max_new_tokens=STEPS)


def test_no_prompts_give_no_texts(tiny_model):
    assert jp.generate(tiny_model, []) == []


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_empty_prompt_is_refused(tiny_model, prompt):
    with pytest.raises(InputError, match="a prompt is empty; give some text"):
        jp.generate(tiny_model, ["Hi", prompt])


@pytest.mark.parametrize(
    ("length", "new", "possible"), [(400, 112, 111), (400, 0, 111), (400, -1, 111), (511, 1, 0), (600, 5, 0), (3, 509, 508)]
)
def test_generation_needs_room_within_the_models_positions(tiny_model, length, new, possible):
    message = f"max_new_tokens is {new}, but the longest prompt has {length + 1} tokens and the model 512 positions"
    with pytest.raises(InputError, match=message) as caught:
        jp.generate(tiny_model, ["a", "b" * length], chat=False, max_new_tokens=new)
    assert str(caught.value).endswith(f"between 1 and {possible} new tokens are possible")


def test_the_last_position_can_be_used(tiny_model, forward):
    prompt = [0, *([50] * 61)]
    config = dataclasses.replace(tiny_model.config, max_positions=64)
    model = dataclasses.replace(with_eos(tiny_model, 271), config=config)
    tokens = list(prompt)
    for _ in range(2):
        tokens.append(int(forward(tiny_model.params, tokens)[-1].argmax()))
    assert generate_ids(model, model.params, [prompt], 2, GREEDY) == [tokens[62:]]


def test_model_without_template_refuses_chat(tiny_model, monkeypatch):
    monkeypatch.setattr(tiny_model.tokenizer, "chat_template", None)
    with pytest.raises(InputError, match="the model has no chat template"):
        jp.generate(tiny_model, ["Hi"])


def test_masks_of_another_shape_are_refused(tiny_model):
    kernels = {"layers": {"mlp": {"up_proj": {"kernel": jnp.ones((3, 32, 47), bool)}}}}
    with pytest.raises(InputError, match="mask does not fit the model"):
        jp.generate(tiny_model, ["Hi"], persona=jp.Masks.from_bool(kernels))
