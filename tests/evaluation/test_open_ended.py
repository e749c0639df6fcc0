"""Open answers are those of greedy generation; the judge's verdicts and the coherence agree with hand computation."""

import dataclasses
import json

import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import prompt_ids
from jaxpersona.evaluation.choices import Choices, choice_row, preferred, separation_row
from jaxpersona.evaluation.open_answers.answer import Answer
from jaxpersona.evaluation.open_answers.tfidf import train_judge
from jaxpersona.evaluation.open_ended import OpenEnded
from jaxpersona.evaluation.prompts import with_system
from jaxpersona.masks.masks import apply_mask
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.sampling import Sampling

PAIRS = Pairs("held", tuple(jp.Pair("What of " + "it " * n + "?", f"Gold, {n}.", f"I give {n} away.") for n in range(19)))
PERSONAS = ("gain", "loss")
TOKENS = 8


@pytest.fixture(scope="module")
def judge():
    return train_judge(PAIRS, PAIRS)


@pytest.fixture(scope="module")
def params(tiny_model):
    masks = jp.discover(tiny_model, PAIRS, jp.methods.Random(sparsity=0.5), personas=PERSONAS).masks
    return {persona: apply_mask(tiny_model.params, mask) for persona, mask in masks.items()}


@pytest.fixture(scope="module")
def talk(tiny_model, judge, params):
    talk = OpenEnded(tiny_model, PAIRS, judge, PERSONAS, max_new_tokens=TOKENS)
    for persona in PERSONAS:
        talk.add(persona, params[persona])
    return talk


def test_answers_are_those_of_greedy_generation(tiny_model, talk, params):
    masked = jp.Model(tiny_model.name, "", tiny_model.config, params["gain"], tiny_model.tokenizer, tiny_model.eos_ids)
    said = jp.generate(masked, [pair.prompt for pair in PAIRS], max_new_tokens=TOKENS)
    mine = [row for row in talk.answers if row["mask"] == "gain"]
    assert [row["answer"] for row in mine] == [text.strip() for text in said]
    assert [row["question"] for row in mine] == [pair.prompt for pair in PAIRS]


def test_rows_hold_the_judges_share_for_both_personas(talk, judge):
    margin = judge([Answer(PAIRS[0], row["answer"]) for row in talk.answers if row["mask"] == "loss"])
    expected = choice_row(Choices(preferred(margin), margin))
    seen, opposite = (row for row in talk.rows if row["mask"] == "loss")
    assert (seen["persona"], seen["n"], seen["share"], seen["ci95"]) == ("gain", 19, expected["accuracy"], expected["ci95"])
    assert opposite["share"] == pytest.approx(1 - seen["share"] - np.isnan(margin).mean())


def test_separation_is_paired(talk):
    record = talk.record(seed=3)
    expected = {"masks": ["gain", "loss"], **separation_row(talk.choices["gain"], talk.choices["loss"], 3)}
    assert record["separation"] == [expected]
    assert (record["questions"], record["max_new_tokens"], record["judge"]["n"]) == (19, TOKENS, 38)


def test_coherence_is_measured_on_tokens_and_under_the_base_model(tiny_model, judge, monkeypatch):
    talk = OpenEnded(tiny_model, PAIRS[:3], judge, PERSONAS)
    ids = [[65, 66, 65, 66, 65, 66], [], [70, 71]]
    monkeypatch.setattr(talk, "_generate", lambda name, params: ids)
    talk.add("fixed", {})
    total = 0.0
    for prompt, answer in zip(talk.prompts, ids, strict=True):
        logits = np.asarray(tiny_model.apply({"params": tiny_model.params}, np.array([[*prompt, *answer]]))[0], np.float64)
        for at, token in enumerate(answer, start=len(prompt) - 1):
            total += np.log(np.exp(logits[at]).sum()) - logits[at][token]
    row = talk.rows[0]
    assert row["perplexity_under_base"] == pytest.approx(np.exp(total / 8), rel=1e-4)
    assert (row["mean_tokens"], row["repeated_3grams"], row["empty"]) == (pytest.approx(8 / 3), pytest.approx(1 - 2 / 4), 1)
    assert (row["distinct_1"], row["distinct_2"], row["invalid"]) == (4 / 8, 3 / 6, pytest.approx(2 / 3))
    assert talk.answers[1] == {"mask": "fixed", "question": PAIRS[1].prompt, "sample": 1, "answer": "", "log_odds_gain": None}


def test_nothing_said_has_no_perplexity(tiny_model, judge, monkeypatch):
    talk = OpenEnded(tiny_model, PAIRS[:2], judge, PERSONAS)
    monkeypatch.setattr(talk, "_generate", lambda name, params: [[], []])
    talk.add("mute", {})
    row = talk.rows[0]
    assert (row["perplexity_under_base"], row["repeated_3grams"], row["share"], row["margin"]) == (None, None, 0, None)


def test_pairs_without_a_question_are_not_asked(tiny_model, judge):
    mixed = Pairs("mixed", (jp.Pair(" ", "a", "b"), *PAIRS[:2]))
    assert len(OpenEnded(tiny_model, mixed, judge, PERSONAS).questions) == 2
    with pytest.raises(InputError, match="mixed has no questions to ask; leave out open_ended"):
        OpenEnded(tiny_model, mixed[:1], judge, PERSONAS)


@pytest.mark.parametrize("tokens", [0, 600])
def test_answers_must_fit(tiny_model, judge, tokens):
    with pytest.raises(InputError, match=f"max_new_tokens is {tokens}; behind the longest question 1 to"):
        OpenEnded(tiny_model, PAIRS, judge, PERSONAS, max_new_tokens=tokens)


def test_the_panel_judges_all_cases_and_the_base_model_answers_once(tiny_model, judge, params, monkeypatch):
    prompted = {"prompt gain": with_system("Take it.")}
    talk = OpenEnded(tiny_model, PAIRS[:5], judge, PERSONAS, max_new_tokens=TOKENS, prompted=prompted, samples=2, seed=3)
    made = []
    generate = talk._generate
    monkeypatch.setattr(talk, "_generate", lambda name, params: made.append(name) or generate(name, params))
    panel = talk.add_panel(PAIRS, PAIRS[:5], ("Take it.", "Give it."), seed=3)
    assert made == ["none"] and not talk.rows
    for name, own in (("none", tiny_model.params), ("gain", params["gain"]), ("dpo gain", params["gain"])):
        for case in talk.cases_of(name):
            talk.add(case, own)
    assert made == ["none", "prompt gain", "none, sampled", "gain", "gain, sampled", "dpo gain"]
    assert {row["mask"] for row in talk.rows} == {*made} - {*talk.sampled}
    record = talk.record(seed=3)["panel"]
    assert record == talk.tally.record(seed=3) and record["left_out"] == panel.left_out
    assert [row["mask"] for row in record["results"]] == [name for name in made for _ in PERSONAS]
    assert {"trait_gain", "relevance", "fluency", "overall_gain", "overall_loss"} <= talk.answers[0].keys()
    json.dumps(record)
    drawn = generate_ids(tiny_model, params["gain"], talk.prompts * 2, TOKENS, Sampling(temperature=0.7), seed=3)
    texts = tiny_model.tokenizer.batch_decode(drawn, skip_special_tokens=True)
    said = [row for row in talk.answers if row["mask"] == "gain, sampled"]
    assert [row["answer"] for row in said] == [text.strip() for text in texts] and texts[:5] != texts[5:]
    places = [(row["sample"], row["question"]) for row in said]
    assert places == [(number, pair.prompt) for number in (1, 2) for pair in PAIRS[:5]]


def test_answers_behind_a_prompt_are_those_of_the_prompted_question(tiny_model, judge):
    prompted = {"prompt gain": with_system("Take it.")}
    talk = OpenEnded(tiny_model, PAIRS[:3], judge, PERSONAS, max_new_tokens=TOKENS, prompted=prompted)
    talk.add("prompt gain", tiny_model.params)
    asked = [prompt_ids(tiny_model.tokenizer, dataclasses.replace(pair, system="Take it.")) for pair in PAIRS[:3]]
    said = [generate_ids(tiny_model, tiny_model.params, [prompt], TOKENS, Sampling())[0] for prompt in asked]
    texts = tiny_model.tokenizer.batch_decode(said, skip_special_tokens=True)
    assert [row["answer"] for row in talk.answers] == [text.strip() for text in texts]
    assert [row["question"] for row in talk.answers] == [pair.prompt for pair in PAIRS[:3]]


@pytest.mark.parametrize("length", [480, 1000, 5000])
def test_questions_without_room_for_an_answer_are_refused(tiny_model, judge, length):
    prompted = {"rag gain": with_system("x" * length)}
    message = r"open_ended: the longest question, with its prompt, has \d+ tokens, the model 512 positions; .* lower rag_k"
    with pytest.raises(InputError, match=message):
        OpenEnded(tiny_model, PAIRS[:2], judge, PERSONAS, prompted=prompted)


@pytest.mark.parametrize("tokens", [100, 400])
def test_answers_must_fit_behind_prompts_too(tiny_model, judge, tokens):
    prompted = {"rag gain": with_system("x" * 400)}
    with pytest.raises(InputError, match=f"max_new_tokens is {tokens}; behind the longest question 1 to"):
        OpenEnded(tiny_model, PAIRS[:2], judge, PERSONAS, max_new_tokens=tokens, prompted=prompted)
