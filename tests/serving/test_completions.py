"""Text completions continue texts, and score given ones as the engine does."""

import itertools

import openai
import pytest

from jaxpersona.inference.requests import Request
from jaxpersona.models.sampling import Sampling

NEW = 5


def answer_of(engine, prompt, persona, **options):
    [answer] = engine.generate([Request(prompt, persona, max_new_tokens=NEW, chat=False, **options)])
    return answer


def ask(client, prompt, model="a", **options):
    return client.completions.create(model=model, prompt=prompt, **{"max_tokens": NEW, "temperature": 0, **options})


def test_prompts_come_as_texts_or_token_ids_alone_or_in_batches(client, alone):
    texts = ["The cat", "No."]
    ids = [alone.tokenizer.encode(text) for text in texts]
    expected = [answer_of(alone, text, "a").text for text in texts]
    for prompts in (texts, ids):
        together = ask(client, prompts)
        assert [choice.text for choice in together.choices] == expected
        assert [choice.index for choice in together.choices] == [0, 1]
        assert together.usage.prompt_tokens == sum(map(len, ids))
        assert [ask(client, prompt).choices[0].text for prompt in prompts] == expected


def test_choices_draw_with_seeds_of_their_own(client, alone):
    expected = [
        answer_of(alone, text, "b", seed=seed, sampling=Sampling(1.5)).text for text in ("Hi", "No") for seed in (7, 8, 9)
    ]
    found = ask(client, ["Hi", "No"], "b", n=3, seed=7, temperature=1.5)
    assert [choice.text for choice in found.choices] == expected and len(set(expected)) > 4
    assert found.usage.prompt_tokens == 6


def test_echo_scores_the_prompt_and_offsets_point_into_the_text(client, alone):
    prompt = "Zo\u00e9 says"
    answer = answer_of(alone, prompt, "c", alternatives=2, prompt_scored=True)
    found = ask(client, prompt, "c", echo=True, logprobs=2).choices[0]
    assert found.text == prompt + answer.text
    scores = [*answer.prompt_scores, *answer.scores]
    assert found.logprobs.token_logprobs == [score and score.log_prob for score in scores]
    assert found.logprobs.top_logprobs[0] is None
    for score, top in zip(scores[1:], found.logprobs.top_logprobs[1:], strict=True):
        assert max(top.values()) == score.alternatives[0][1]
        assert score.log_prob in top.values() and 2 <= len(top) <= 3
    assert found.logprobs.tokens[:6] == ["<s>", "Z", "o", "bytes:\\xc3", "bytes:\\xa9", " "]
    assert found.logprobs.text_offset[:7] == [0, 0, 1, 2, 2, 3, 4]


def test_a_prompt_is_scored_without_new_tokens(client):
    found = ask(client, "The cat", echo=True, logprobs=0, max_tokens=0).choices[0]
    assert (found.text, found.finish_reason, len(found.logprobs.tokens)) == ("The cat", "length", 8)


def test_a_stream_has_the_text_and_log_probs_of_a_whole_answer(client):
    options = {"echo": True, "logprobs": 1, "stop": ["\x00"], "n": 2, "seed": 3, "temperature": 1}
    whole = ask(client, "Hi", **options).choices
    pieces = [chunk.choices[0] for chunk in ask(client, "Hi", **options, stream=True)]
    for choice in whole:
        own = [piece for piece in pieces if piece.index == choice.index]
        assert "".join(piece.text for piece in own) == choice.text
        for name in ("tokens", "token_logprobs", "text_offset"):
            joined = itertools.chain.from_iterable(getattr(piece.logprobs, name) for piece in own)
            assert list(joined) == getattr(choice.logprobs, name)
        assert [piece.finish_reason for piece in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1].finish_reason == choice.finish_reason == "length"


def test_an_answer_ends_before_a_stop_text(client, alone):
    whole = answer_of(alone, "Hi", "a").text
    found = ask(client, "Hi", stop=whole[2:4]).choices[0]
    assert (found.text, found.finish_reason) == (whole[: whole.index(whole[2:4])], "stop")


@pytest.mark.parametrize(
    ("options", "param", "message"),
    [
        ({"prompt": ""}, "prompt", "prompt is missing or empty"),
        ({"prompt": [3, 900]}, "prompt", "token id 900 does not exist; ids go from 0 to 271"),
        ({"prompt": ["Hi", [1, 2], 3]}, "prompt", "prompt is missing or empty"),
        ({"prompt": "x" * 300}, "prompt", "prompt has 301 tokens; at most 191 fit"),
        ({"prompt": "x" * 10**6}, "prompt", "prompt has 1000000 characters; at most 192 tokens fit"),
        ({"prompt": ["Hi"] * 100, "n": 3}, "prompt", "300 answers are asked for at once; at most 256 fit"),
        ({"max_tokens": 190}, "max_tokens", "max_tokens is 190, but the prompt has 3 tokens of 192; give 1 to 189"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0"),
        ({"logprobs": 21}, "logprobs", "logprobs is 21; it must lie in 0 to 20"),
        ({"best_of": 3}, "best_of", "best_of is 3, but this server returns all answers"),
        ({"echo": "yes"}, "echo", "echo is 'yes'; give true or false"),
    ],
)
def test_a_wrong_field_is_named(client, options, param, message):
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        ask(client, **{"prompt": "Hi", **options})
    assert refused.value.param == param
