"""The evaluator has a row per mask, prompt, scoring and persona, with the numbers of that model's scores."""

import copy
import dataclasses
import itertools
import re
import textwrap

import jax
import numpy as np
import pytest
import tokenizers

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import OFFICIAL, STRICT
from jaxpersona.core.stage import Stage
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.choices import Choices, answer_bytes, choice_row, choose, separation_row
from jaxpersona.evaluation.evaluator import Evaluator, prepare_held_out
from jaxpersona.evaluation.likelihood_changes import LIKELIHOOD_KEYS, likelihood_row
from jaxpersona.evaluation.prompts import with_system
from jaxpersona.masks.masks import apply_mask
from jaxpersona.models.perplexity import windows

KEYS = {
    "mask",
    "prompt",
    "scoring",
    "persona",
    "n",
    "accuracy",
    "ci95",
    "margin",
    "perplexity",
    "answer_nll",
    "ties",
    "missing",
    "share_a",
    *LIKELIHOOD_KEYS,
}
SCORINGS = (*STRICT.choice_scoring, "letter")
PROMPTS = {"gain": with_system("Take."), "loss": with_system("Give.")}
SYSTEM = {"gain": "Take.", "loss": "Give."}
ITEMS = [jp.Pair(f"What is {n}?", f"{word} for me.", f"I give {word} away.") for n, word in enumerate(["Gold", "Iron", "Rent"])]
ITEMS += [jp.Pair("Land?", "I take it.", "I give it."), jp.Pair("Which?", "Ja, ja.", "Nein.", "Be brief.")]
PAIRS = Pairs("items", tuple(ITEMS))


@pytest.fixture(scope="module")
def masks(tiny_model):
    return jp.discover(tiny_model, PAIRS, jp.methods.Random(sparsity=0.5), personas=("gain", "loss")).masks


@pytest.fixture(scope="module")
def evaluated(tiny_model, masks):
    tokens = windows(tiny_model, "The river froze early that year. " * 4, max_tokens=64, length=32)
    stages = []
    held = prepare_held_out(tiny_model, PAIRS, PROMPTS, max_length=128)
    evaluator = Evaluator(tiny_model, held, ("gain", "loss"), tokens, Stage(lambda *step: stages.append(step)))
    evaluator.add("none", tiny_model.params)
    for name, mask in masks.items():
        evaluator.add(name, apply_mask(tiny_model.params, mask))
    return evaluator, tokens, stages


def rows_of(evaluator, **wanted):
    return [row for row in evaluator.rows if wanted.items() <= row.items()]


def test_there_is_one_row_for_every_mask_prompt_scoring_and_persona(evaluated):
    rows = evaluated[0].rows
    assert all(row.keys() == KEYS for row in rows)
    places = [(row["mask"], row["prompt"], row["scoring"], row["persona"]) for row in rows]
    expected = itertools.product(["none", "gain", "loss"], ["none", "gain", "loss"], SCORINGS, ["gain", "loss"])
    assert sorted(places) == sorted(expected)


def test_opposite_persona_has_the_other_share_and_margin(evaluated):
    rows = evaluated[0].rows
    for seen, opposite in zip(rows[::2], rows[1::2], strict=True):
        assert (seen["persona"], opposite["persona"]) == ("gain", "loss")
        assert opposite["accuracy"] == pytest.approx(1 - seen["accuracy"])
        assert opposite["margin"] == pytest.approx(-seen["margin"])
        assert opposite["ci95"] == pytest.approx((1 - seen["ci95"][1], 1 - seen["ci95"][0]))


@pytest.mark.parametrize("prompt", ["none", "gain"])
@pytest.mark.parametrize("name", ["none", "loss"])
def test_rows_are_of_the_masked_model_under_the_prompt(evaluated, tiny_model, masks, name, prompt):
    params = tiny_model.params if name == "none" else apply_mask(tiny_model.params, masks[name])
    system = SYSTEM.get(prompt)
    asked = [pair if system is None else jp.Pair(pair.prompt, pair.matching, pair.not_matching, system) for pair in PAIRS]
    scores = score_answers(tiny_model, params, [tokenize_pair(tiny_model.tokenizer, pair) for pair in asked])
    evaluator, tokens, _ = evaluated
    for scoring in STRICT.choice_scoring:
        (row,) = rows_of(evaluator, mask=name, prompt=prompt, scoring=scoring, persona="gain")
        expected = choice_row(choose(scores, answer_bytes(PAIRS), scoring))
        assert {key: row[key] for key in expected} == expected
        assert row["answer_nll"] == scores.nll()
        assert row["perplexity"] == jp.perplexity(tiny_model, params, tokens)


@pytest.mark.parametrize(
    ("name", "prompt", "against"), [("gain", "none", "none"), ("loss", "gain", "gain"), ("none", "loss", "none")]
)
def test_likelihood_is_compared_with_the_base_model_under_the_prompt_or_a_prompt_with_none(
    evaluated, tiny_model, masks, name, prompt, against
):
    held = prepare_held_out(tiny_model, PAIRS, PROMPTS, max_length=128).tokenized
    params = tiny_model.params if name == "none" else apply_mask(tiny_model.params, masks[name])
    before, after = score_answers(tiny_model, tiny_model.params, held[against]), score_answers(tiny_model, params, held[prompt])
    for own, persona in enumerate(("gain", "loss")):
        expected = likelihood_row(before, after, own)
        assert expected["own_nll_change"] != 0
        for row in rows_of(evaluated[0], mask=name, prompt=prompt, persona=persona):
            assert {key: row[key] for key in expected} == expected


def test_the_base_model_has_no_changes_and_a_mask_that_keeps_all_has_changes_of_0(tiny_model, evaluated):
    for row in rows_of(evaluated[0], mask="none", prompt="none"):
        assert row["own_nll"] > 0 and row["own_nll_change"] is row["own_likelier"] is None
    whole = jp.discover(tiny_model, PAIRS, jp.methods.Random(sparsity=0.0), personas=("gain", "loss")).masks["gain"]
    evaluator = Evaluator(tiny_model, evaluated[0].held_out, ("gain", "loss"), None)
    evaluator.add("whole", apply_mask(tiny_model.params, whole))
    for row in evaluator.rows:
        changes = [row[key] for key in ("own_nll_change", "own_nll_change_ci95", "opposite_nll_change", "own_likelier")]
        assert changes == [0, (0, 0), 0, 0.5]


def test_scores_of_the_base_model_are_computed_once_or_taken_from_an_earlier_evaluation(tiny_model, evaluated, masks):
    held, scored = evaluated[0].held_out, []
    stage = Stage(lambda name, *_: scored.append(name))
    masked = apply_mask(tiny_model.params, masks["gain"])
    later = Evaluator(tiny_model, held, ("gain", "loss"), None, stage, base_scores=evaluated[0].base_scores)
    alone = Evaluator(tiny_model, held, ("gain", "loss"), None, stage)
    for evaluator, base in ((later, 0), (alone, 1), (alone, 0)):
        scored.clear()
        evaluator.add("gain", masked, ["gain"])
        assert ("none, prompt gain" in scored) == bool(base)
        expected = rows_of(evaluated[0], mask="gain", prompt="gain")
        assert [{**row, "perplexity": None} for row in expected] == evaluator.rows[:8]


def test_masks_and_prompts_change_what_is_chosen(evaluated):
    margins = {row["margin"] for row in rows_of(evaluated[0], scoring="sum", persona="gain")}
    assert len(margins) == 9


def test_separation_is_by_prompt_and_scoring_on_the_first_persona(evaluated):
    evaluator = evaluated[0]
    rows = evaluator.separation("gain", "loss", seed=5)
    assert [(row["prompt"], row["scoring"]) for row in rows] == list(itertools.product(["none", "gain", "loss"], SCORINGS))
    for row in rows:
        place = {"prompt": row["prompt"], "scoring": row["scoring"], "persona": "gain"}
        accuracies = [rows_of(evaluator, mask=name, **place)[0]["accuracy"] for name in ("gain", "loss")]
        assert row["separation"] == pytest.approx(accuracies[0] - accuracies[1])
        under = [evaluator.choices[name, row["prompt"], row["scoring"]] for name in ("gain", "loss")]
        place = {"masks": ["gain", "loss"], "prompt": row["prompt"], "scoring": row["scoring"]}
        assert row == {**place, **separation_row(*under, 5)}


def test_progress_names_mask_and_prompt(evaluated):
    stages = [stage for stage, done, total in evaluated[2] if done == total]
    names = ["none", "gain", "loss"]
    parts = [f"prompt {prompt}{part}" for prompt in names for part in ("", ", letters")]
    assert stages == [f"{mask}, {part}" for mask in names for part in ("perplexity", *parts)]


def test_prompts_perplexity_and_models_can_be_left_out(tiny_model):
    evaluator = Evaluator(
        tiny_model, prepare_held_out(tiny_model, PAIRS, PROMPTS, max_length=128, letters=False), ("gain", "loss"), None
    )
    evaluator.add("control", tiny_model.params, ["none"])
    evaluator.add_choices("longer", Choices(np.array([1, 0, 0.5, 1, 1]), np.array([3.0, -1, 0, 1, 1])))
    assert {row["prompt"] for row in evaluator.rows} == {"none"}
    assert all(row["perplexity"] is None and row.keys() == KEYS for row in evaluator.rows)
    row, opposite = rows_of(evaluator, mask="longer")
    assert (row["scoring"], row["accuracy"], row["margin"], row["ties"], row["answer_nll"]) == ("sum", 0.7, 0.8, 1, None)
    assert opposite["accuracy"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("pair", "prompts"),
    [
        (jp.Pair("Q?", "Same.", "Same."), {}),
        (jp.Pair("Q?", "Same.", " Same. "), {}),
        (jp.Pair("Long " * 30, "A", "B"), {}),
        (jp.Pair("Long " * 12, "A", "B"), {"gain": with_system("Wide. " * 76)}),
    ],
    ids=["equal", "equal but for space", "cut", "cut behind a prompt"],
)
def test_pairs_that_cannot_be_scored_are_refused(tiny_model, pair, prompts):
    message = r"some.csv: pair 2 cannot be scored; its answers are equal or cut by (data.max_length|the model's positions); "
    message += re.escape(f"leave it out (its question: {textwrap.shorten(pair.prompt, 60, placeholder=' ...')!r})")
    with pytest.raises(InputError, match=message):
        prepare_held_out(tiny_model, Pairs("some.csv", (ITEMS[0], pair)), prompts, max_length=128)
    with pytest.raises(InputError, match=r"some.csv: pair 1 cannot"):
        prepare_held_out(tiny_model, Pairs("some.csv", (pair, ITEMS[0])), prompts, max_length=128)


def test_options_too_long_for_the_model_are_refused_with_the_way_out(tiny_model):
    long = Pairs("some.csv", (jp.Pair("Q?", "Gold. " * 40, "Bread. " * 40),))
    assert prepare_held_out(tiny_model, long, {}, letters=False).letters == {}
    with pytest.raises(InputError, match=r"listed as options \(--letters false leaves that out\)"):
        prepare_held_out(tiny_model, long, {})


def test_a_broken_model_has_no_numbers_and_every_item_is_missing(tiny_model):
    tokens = windows(tiny_model, "The river froze early that year. " * 4, max_tokens=32, length=32)
    evaluator = Evaluator(tiny_model, prepare_held_out(tiny_model, PAIRS, {}, max_length=128), ("gain", "loss"), tokens)
    evaluator.add("broken", jax.tree.map(lambda leaf: leaf * np.nan, tiny_model.params))
    for row in evaluator.rows:
        assert (row["missing"], row["accuracy"]) == (len(PAIRS), 0)
        assert (row["margin"], row["perplexity"], row["answer_nll"], row["share_a"]) == (None,) * 4


def test_texts_longer_than_the_models_positions_are_refused(tiny_model):
    with pytest.raises(InputError, match=r"data.max_length is 513, the model has 512 positions; lower it"):
        prepare_held_out(tiny_model, PAIRS, {}, max_length=513)


def test_prompts_may_be_longer_than_the_pairs_alone_may(tiny_model):
    held = prepare_held_out(tiny_model, PAIRS, {"long": with_system("Wide. " * 30)}, max_length=128)
    assert max(len(pair.prefix) for pair in held.tokenized["long"]) > 128


@pytest.mark.parametrize("mode", ["chat", "prompt_response", "raw", "response"])
def test_letters_are_one_token_behind_both_options(tiny_model, mode):
    as_a, as_b = prepare_held_out(tiny_model, PAIRS, {}, mode, max_length=128).letters["none"]
    for pair, first, second in zip(PAIRS, as_a, as_b, strict=True):
        read = [tiny_model.tokenizer.decode([*text.prefix]) for text in (first, second)]
        assert f"A. {pair.matching}\nB. {pair.not_matching}" in read[0] and pair.prompt in read[0]
        assert f"A. {pair.not_matching}\nB. {pair.matching}" in read[1]
        letters = [[tiny_model.tokenizer.decode(ids) for ids in (text.matching, text.not_matching)] for text in (first, second)]
        assert letters == [["A", "B"], ["B", "A"]]
        assert first.answer_start in (len(first.prefix), len(first.prefix) - 1)  # a space may belong to the answer


def test_letter_rows_are_means_over_both_orders(evaluated, tiny_model, masks):
    params = apply_mask(tiny_model.params, masks["gain"])
    margins = []
    for text in prepare_held_out(tiny_model, PAIRS, {}, max_length=128).letters["none"]:
        log_prob = score_answers(tiny_model, params, text).log_prob
        margins.append(log_prob[:, 0] - log_prob[:, 1])
    (row,) = rows_of(evaluated[0], mask="gain", prompt="none", scoring="letter", persona="gain")
    as_a, as_b = np.array(margins) > 0
    assert row["accuracy"] == pytest.approx(np.mean([as_a, as_b]))
    assert row["margin"] == pytest.approx(np.mean(margins), rel=1e-4)
    assert row["share_a"] == pytest.approx(np.mean([as_a, ~as_b]))
    assert row["ties"] == (as_a != as_b).sum()


def test_protocol_scores_prompt_and_answer_together_and_gives_ties_to_an_option(tiny_model):
    """Row 11 of core/protocol.py: mean loss over prompt + answer, ties to B; summed answer log-probability, ties to A."""
    tied = jp.Pair("Which?", "Ja.", "Ja?", letter="A")
    pairs = Pairs("tied", (tied, jp.Pair("Which?", "Ja?", "Ja.", letter="B"), *ITEMS))
    official = Evaluator(
        tiny_model, prepare_held_out(tiny_model, pairs, {}, max_length=128), ("gain", "loss"), None, protocol=OFFICIAL
    )
    # Zero weights make all tokens equally likely, so answers of equal length tie.
    official.add("flat", jax.tree.map(np.zeros_like, tiny_model.params), ["none"])
    assert {row["scoring"] for row in official.rows} == {"prompt_mean", "sum", "letter"}
    np.testing.assert_array_equal(official.choices["flat", "none", "sum"].correct[:2], [1, 0])
    np.testing.assert_array_equal(official.choices["flat", "none", "prompt_mean"].correct[:2], [0, 1])
    strict = Evaluator(
        tiny_model, prepare_held_out(tiny_model, pairs, {}, max_length=128), ("gain", "loss"), None, protocol=STRICT
    )
    strict.add("flat", jax.tree.map(np.zeros_like, tiny_model.params), ["none"])
    np.testing.assert_array_equal(strict.choices["flat", "none", "sum"].correct[:2], [0.5, 0.5])


def log_probs_after(model, ids):
    logits = np.asarray(model.apply({"params": model.params}, np.array([ids])), np.float64)[0, -1]
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


@pytest.mark.parametrize("answers", [(" (A)", " (B)"), (" (B)", " (A)")])
def test_published_options_are_scored_by_their_own_letters(tiny_model, answers):
    pair = jp.Pair("Gold?\n\nChoices:\n (A) Yes\n (B) No", *answers)
    evaluator = Evaluator(tiny_model, prepare_held_out(tiny_model, Pairs("mwe", (pair,)), {}), ("gain", "loss"), None)
    evaluator.add("none", tiny_model.params)
    before = tiny_model.tokenizer.apply_chat_template([{"role": "user", "content": pair.prompt}], tokenize=False)
    ids = tiny_model.tokenizer.encode(f"{before}<|im_start|>assistant\n(", add_special_tokens=False)
    own, other = (tiny_model.tokenizer.encode(answer[2], add_special_tokens=False)[0] for answer in answers)
    logs = log_probs_after(tiny_model, ids)
    found = evaluator.choices["none", "none", "letter"]
    assert found.margin[0] == pytest.approx(logs[own] - logs[other], abs=1e-3)
    assert found.share_a == float((found.margin[0] > 0) == (answers[0] == " (A)"))


@pytest.mark.parametrize("text", ["prompt_response", "response", "raw"])
@pytest.mark.parametrize("answers", [("a", "b"), ("a", "bcd"), ("abc", "b")])
def test_an_answer_of_one_token_to_no_question_has_no_score_without_bos(tiny_model, text, answers):
    tokenizer = copy.deepcopy(tiny_model.tokenizer)
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.ByteLevel()
    tokenizer.bos_token = None
    model = dataclasses.replace(tiny_model, tokenizer=tokenizer)
    pairs = Pairs("short", (jp.Pair("", *answers), jp.Pair("Which?", "abc", "xyz")))
    evaluator = Evaluator(model, prepare_held_out(model, pairs, {}, text, letters=False), ("gain", "loss"), None)
    evaluator.add("none", model.params)
    for scoring in STRICT.choice_scoring:
        correct = evaluator.choices["none", "none", scoring].correct
        assert np.isnan(correct[0]) and not np.isnan(correct[1])
    assert {row["missing"] for row in evaluator.rows} == {1}
