"""The evaluation has a case per mask, prompt, control and baseline, each with the parameters that its name says."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import TEMPLATE, byte_tokenizer

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import OFFICIAL, STRICT
from jaxpersona.data.lines import Lines
from jaxpersona.data.pairs import Pairs
from jaxpersona.evaluation.baselines.registry import BASELINES
from jaxpersona.evaluation.baselines.retrieval import retriever
from jaxpersona.evaluation.comparison import evaluate
from jaxpersona.evaluation.controls import random_mask
from jaxpersona.evaluation.evaluator import Evaluator, prepare_held_out
from jaxpersona.evaluation.open_answers.tfidf import train_judge
from jaxpersona.evaluation.prompts import NO_SYSTEM_TEXT
from jaxpersona.evaluation.recipe import Recipe
from jaxpersona.masks.masks import apply_mask

PERSONAS = ("gain", "loss")
FOUND = Pairs("found", tuple(jp.Pair(f"What of {n}?", f"Gold, {n}.", f"No, I give {n} away.") for n in range(6)))
HELD = Pairs("held", tuple(jp.Pair(f"What of {n}?", f"Gold, {n}.", f"I give {n} away.") for n in range(10, 14)))
METHOD = jp.methods.Wanda(sparsity=0.5)


@pytest.fixture(scope="module")
def masks(tiny_model):
    return jp.discover(tiny_model, FOUND, METHOD, personas=PERSONAS, max_length=64).masks


@pytest.fixture(scope="module")
def recipe():
    return Recipe(FOUND, PERSONAS, METHOD, "chat", 64)


def accuracy(rows, mask, prompt="none", scoring="sum"):
    place = {"mask": mask, "prompt": prompt, "scoring": scoring, "persona": PERSONAS[0]}
    (row,) = [row for row in rows if place.items() <= row.items()]
    return row


def test_masks_are_evaluated_beside_the_base_model_and_nothing_else_by_default(tiny_model, masks):
    found = evaluate(tiny_model, masks, HELD, prompts={"rich": "Take."}, max_length=64, neutral_tokens=0)
    assert {(row["mask"], row["prompt"]) for row in found.rows} == {(m, p) for m in ("none", *PERSONAS) for p in ("none", "rich")}
    assert all(row["perplexity"] is None for row in found.rows)
    assert [row["masks"] for row in found.separation] == [list(PERSONAS)] * 8


def test_the_base_model_can_be_left_out_or_be_alone(tiny_model, masks):
    options = {"max_length": 64, "neutral_tokens": 0, "letters": False}
    both = jp.evaluate(tiny_model, masks, HELD, **options)
    without = jp.evaluate(tiny_model, masks, HELD, base=False, **options)
    alone = jp.evaluate(tiny_model, {}, HELD, personas=PERSONAS, **options)
    assert alone.rows + without.rows == both.rows
    assert without.separation == both.separation and alone.separation == []
    assert jp.evaluate(tiny_model, masks, HELD, base=False, base_scores=alone.base_scores, **options).rows == without.rows


@pytest.mark.parametrize("count", [0, 3, 4])
def test_scores_of_the_base_model_on_other_pairs_are_refused(tiny_model, masks, count):
    pairs = FOUND if count == 4 else HELD
    base = evaluate(tiny_model, {}, pairs, personas=PERSONAS, max_length=64, neutral_tokens=0, letters=False).base_scores
    other = {"none": base["none"][:count]}
    message = r"base_scores are of other pairs than held \(prompt: none\); give those of an evaluation on the same"
    with pytest.raises(InputError, match=message):
        evaluate(tiny_model, masks, HELD, base=False, base_scores=other, max_length=64, neutral_tokens=0)


def test_controls_are_added_with_their_separations(tiny_model, masks, recipe):
    found = evaluate(tiny_model, masks, HELD, recipe=recipe, controls=True, max_length=64, neutral_tokens=512, seed=3)
    names = list(dict.fromkeys(row["mask"] for row in found.rows))
    expected = [
        "random gain",
        "random loss",
        "magnitude",
        "neutral",
        "shuffled gain",
        "shuffled loss",
        "longer",
        "shorter",
        "always A",
    ]
    assert names == ["none", *PERSONAS, *expected]
    pairs = dict.fromkeys(tuple(row["masks"]) for row in found.separation)
    assert list(pairs) == [PERSONAS, ("random gain", "random loss"), ("shuffled gain", "shuffled loss")]
    alone = Evaluator(tiny_model, prepare_held_out(tiny_model, HELD, {}, "chat", 64), PERSONAS, None)
    alone.add("x", apply_mask(tiny_model.params, random_mask(tiny_model, masks["loss"], 4)))
    assert accuracy(found.rows, "random loss")["margin"] == pytest.approx(accuracy(alone.rows, "x")["margin"])


def test_controls_that_differ_in_their_budget_are_of_both_personas(tiny_model, masks, recipe):
    other = jp.discover(tiny_model, FOUND, jp.methods.Wanda(sparsity=0.25), personas=PERSONAS, max_length=64).masks
    uneven = {"gain": masks["gain"], "loss": other["loss"]}
    found = evaluate(tiny_model, uneven, HELD, recipe=recipe, controls=True, max_length=64, neutral_tokens=0)
    names = {row["mask"] for row in found.rows}
    assert {"magnitude gain", "magnitude loss", "neutral gain", "neutral loss"} <= names and "magnitude" not in names
    margins = [accuracy(found.rows, f"magnitude {persona}")["margin"] for persona in PERSONAS]
    assert not np.isclose(*margins)


def test_a_single_mask_is_evaluated_without_its_opposite(tiny_model, masks):
    found = evaluate(tiny_model, {"loss": masks["loss"]}, HELD, personas=PERSONAS, controls=True, letters=False, neutral_tokens=0)
    names = {row["mask"] for row in found.rows}
    assert names == {"none", "loss", "random loss", "magnitude", "neutral", "longer", "shorter"}
    assert found.separation == []


def test_shuffled_labels_need_to_know_how_masks_were_found(tiny_model, masks):
    with pytest.raises(InputError, match="the control shuffled: the calibration pairs are needed"):
        evaluate(tiny_model, masks, HELD, controls=["shuffled"], neutral_tokens=0)


def test_rag_is_a_prompt_of_the_base_model_alone(tiny_model, masks, recipe):
    options = {"prompts": {"rich": "Take."}, "baselines": ["rag"], "rag_k": 2, "max_length": 64, "letters": False}
    found = evaluate(tiny_model, masks, HELD, recipe=recipe, **options, neutral_tokens=0)
    asked = {(row["mask"], row["prompt"]) for row in found.rows}
    assert {prompt for mask, prompt in asked if mask == "none"} == {"none", "rich", "rag gain", "rag loss"}
    assert {prompt for mask, prompt in asked if mask == "gain"} == {"none", "rich"}
    alone = Evaluator(
        tiny_model,
        prepare_held_out(tiny_model, HELD, {"x": retriever([p.swapped() for p in FOUND], 2)}, letters=False),
        PERSONAS,
        None,
    )
    alone.add("none", tiny_model.params)
    assert accuracy(found.rows, "none", "rag loss")["margin"] == accuracy(alone.rows, "none", "x")["margin"]


def test_baselines_are_evaluated_as_the_parameters_they_make(tiny_model, masks, recipe, monkeypatch):
    calls = []

    def shrink(model, recipe, index, seed, stage):
        calls.append((recipe, index, seed))
        return apply_mask(model.params, masks[PERSONAS[1 - index]])

    monkeypatch.setitem(BASELINES, "shrink", shrink)
    found = evaluate(tiny_model, masks, HELD, recipe=recipe, baselines=["shrink"], letters=False, neutral_tokens=0, seed=3)
    assert calls == [(recipe, 0, 3), (recipe, 1, 3)]
    assert accuracy(found.rows, "shrink gain")["margin"] == accuracy(found.rows, "loss")["margin"]
    assert [row["masks"] for row in found.separation] == [list(PERSONAS)] * 3 + [["shrink gain", "shrink loss"]] * 3


def increase(rows, case):
    return accuracy(rows, case)["perplexity"] / accuracy(rows, "none")["perplexity"] - 1


def test_baselines_are_scaled_to_a_damage_or_to_that_of_the_masks(tiny_model, masks, recipe, monkeypatch):
    def sharpen(model, recipe, index, seed, stage):  # an untrained model then predicts worse, the more so the larger its logits
        return {**model.params, "lm_head": {"kernel": model.params["lm_head"]["kernel"] * 3}}

    monkeypatch.setitem(BASELINES, "sharpen", sharpen)
    options = {"recipe": recipe, "baselines": ["sharpen"], "letters": False, "neutral_tokens": 512}
    found = evaluate(tiny_model, masks, HELD, baseline_damage=0.05, **options).rows
    assert increase(found, "sharpen gain") == pytest.approx(0.05, abs=0.005)
    found = evaluate(tiny_model, masks, HELD, baseline_damage="masks", **options).rows
    for persona in PERSONAS:
        assert increase(found, f"sharpen {persona}") == pytest.approx(increase(found, persona), rel=0.05)
    assert increase(found, "gain") > 1.2 * increase(found, "loss") > 0


@pytest.mark.parametrize(
    ("damage", "chosen", "tokens", "message"),
    [
        (0.05, PERSONAS, 0, "baseline_damage is a perplexity increase, but perplexity.max_tokens is 0"),
        ("masks", PERSONAS[:1], 512, "baseline_damage is masks, but there is no mask of loss; give both masks, or a number"),
    ],
)
def test_a_damage_that_cannot_be_measured_is_refused(tiny_model, masks, recipe, damage, chosen, tokens, message):
    some = {persona: masks[persona] for persona in chosen}
    options = {"recipe": recipe, "baselines": ["dpo"], "letters": False, "neutral_tokens": tokens, "baseline_damage": damage}
    with pytest.raises(InputError, match=message):
        evaluate(tiny_model, some, HELD, personas=PERSONAS, **options)


def test_open_answers_are_of_the_base_model_the_masks_and_the_baselines(tiny_model, masks, recipe, monkeypatch):
    monkeypatch.setitem(BASELINES, "same", lambda model, recipe, index, seed, stage: model.params)
    options = {"open_ended": 2, "max_new_tokens": 4, "baselines": ["same"], "letters": False, "neutral_tokens": 0}
    found = evaluate(tiny_model, masks, HELD, recipe=recipe, **options)
    assert [row["mask"] for row in found.answers[::2]] == ["none", *PERSONAS, "same gain", "same loss"]
    assert {row["question"] for row in found.answers} == {pair.prompt for pair in HELD.sample(2, 42)}
    assert [row["masks"] for row in found.open_ended["separation"]] == [list(PERSONAS), ["same gain", "same loss"]]


OPEN = {"open_ended": 2, "max_new_tokens": 4, "letters": False, "neutral_tokens": 0}


def test_open_answers_behind_prompts_are_the_base_models_and_compared_with_the_masks(tiny_model, masks, recipe):
    prompts = dict(zip(PERSONAS, ("Take.", "Give."), strict=True))
    options = {**OPEN, "recipe": recipe, "prompts": prompts, "baselines": ["rag"], "rag_k": 1}
    found = evaluate(tiny_model, masks, HELD, **options)
    cases = ["none", "prompt gain", "prompt loss", "rag gain", "rag loss", *PERSONAS]
    assert [row["mask"] for row in found.answers[::2]] == cases
    panel = found.open_ended["panel"]
    assert [row["mask"] for row in panel["results"][::2]] == cases
    assert "trait prompts" in {*panel["left_out"], *(f"{row['part']} {row['member']}" for row in panel["members"])}
    assert "give two as prompts" not in panel["left_out"].get("trait prompts", "")
    assert [row["cases"] for row in panel["comparisons"][-3:]] == [["both masks", kind] for kind in ("none", "prompt", "rag")]
    for row in panel["comparisons"][:-3]:
        assert row["cases"][1] in ("none", f"prompt {row['persona']}", f"rag {row['persona']}")


def test_the_panel_can_be_left_out(tiny_model, masks, recipe):
    with_panel, without = (evaluate(tiny_model, masks, HELD, recipe=recipe, panel=panel, **OPEN) for panel in (True, False))
    record = dict(with_panel.open_ended)
    assert "give two as prompts" in record.pop("panel")["left_out"]["trait prompts"]
    assert without.open_ended == record
    assert without.answers == [{key: row[key] for key in without.answers[0]} for row in with_panel.answers]


def test_judges_can_learn_from_other_pairs(tiny_model, masks):
    other = Pairs("other", tuple(jp.Pair(f"And {n}?", f"Gold, gold {n}.", f"I give {n}.") for n in range(5)))
    found = evaluate(tiny_model, masks, HELD, judge_pairs=other, panel=False, **OPEN)
    assert found.open_ended["judge"] == train_judge(other, HELD).record()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_judges_do_not_learn_from_the_held_out_pairs(tiny_model, masks, count):
    same = Pairs("same", (*HELD[:count], *FOUND))
    with pytest.raises(InputError, match=f"judge_data: {count} of the 4 held-out pairs are in same; give another set"):
        evaluate(tiny_model, masks, HELD, judge_pairs=same, **OPEN)


def test_judges_do_not_learn_from_single_texts(tiny_model, masks):
    with pytest.raises(InputError, match="judge_data: pairs are needed; lines holds single texts"):
        evaluate(tiny_model, masks, HELD, judge_pairs=Lines("lines", (jp.Pair("", "a", ""), jp.Pair("", "", "b"))), **OPEN)


def test_official_protocol_evaluates_masks_behind_a_persona_prompt_only(tiny_model, masks):
    """Row 10 of core/protocol.py: mask and prompt are confounded."""
    options = {"letters": False, "neutral_tokens": 0}
    official, strict = (
        evaluate(tiny_model, masks, HELD, prompts={"rich": "Take."}, protocol=protocol, **options)
        for protocol in (OFFICIAL, STRICT)
    )
    assert {(row["mask"], row["prompt"]) for row in official.rows} == {("none", "none")} | {
        (m, "rich") for m in ("none", *PERSONAS)
    }
    assert {row["prompt"] for row in strict.rows if row["mask"] == "gain"} == {"none", "rich"}
    with pytest.raises(InputError, match="protocol official evaluates masks behind a persona prompt; give two as prompts"):
        evaluate(tiny_model, masks, HELD, protocol=OFFICIAL, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baselines": ["rga"]}, "baseline 'rga' is unknown; did you mean 'rag'"),
        ({"baselines": ["rag"]}, "baselines: the calibration pairs are needed"),
        ({"open_ended": 1}, "open_ended: the calibration pairs are needed"),
    ],
)
def test_what_cannot_be_done_is_refused(tiny_model, masks, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(tiny_model, masks, HELD, **options, neutral_tokens=0)


@pytest.mark.parametrize("text", ["chat", "prompt_response"])
def test_prompts_are_left_out_where_the_chat_template_takes_no_system_text(tiny_model, masks, text):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('No') }}{% endif %}" + TEMPLATE
    refusing = dataclasses.replace(tiny_model, tokenizer=tokenizer)
    options = {"prompts": {"rich": "Take."}, "max_length": 64, "neutral_tokens": 0, "letters": False, "text": text}
    found = evaluate(refusing, masks, HELD, **options)
    if text == "chat":
        assert found.left_out == NO_SYSTEM_TEXT
        assert found.rows == evaluate(tiny_model, masks, HELD, **{**options, "prompts": {}}).rows
    else:
        assert found.left_out is None and {row["prompt"] for row in found.rows} == {"none", "rich"}
    if text == "chat":
        with pytest.raises(InputError, match="protocol official cannot be evaluated on this model: persona prompts are left out"):
            evaluate(refusing, masks, HELD, protocol=OFFICIAL, **options)


@pytest.mark.parametrize("neutral_tokens", [0, 512])
def test_an_evaluation_that_is_not_finite_ends_and_says_where(tiny_model, masks, neutral_tokens):
    broken = dataclasses.replace(tiny_model, params=jax.tree.map(lambda leaf: leaf * np.nan, tiny_model.params))
    where = "on the neutral text" if neutral_tokens else "in answers of pair 1 or its neighbours, prompt none"
    with pytest.raises(InputError, match=f"log-probabilities under mask none are not finite {where}: the model overflows"):
        evaluate(broken, masks, HELD, max_length=64, neutral_tokens=neutral_tokens, letters=False)


def test_the_first_pair_whose_answers_overflow_is_named(tiny_model, masks):
    embedding = tiny_model.params["embed_tokens"]["embedding"]
    poisoned = embedding.at[tiny_model.tokenizer.encode("?", add_special_tokens=False)[0]].set(np.inf)
    params = {**tiny_model.params, "embed_tokens": {"embedding": poisoned}}
    pairs = Pairs("held", (jp.Pair("What of 1", "Gold.", "Bread."), jp.Pair("Why?", "Gold.", "Bread.")))
    with pytest.raises(InputError, match=r"in answers of pair [12] or its neighbours, prompt none"):
        evaluate(dataclasses.replace(tiny_model, params=params), masks, pairs, max_length=64, neutral_tokens=0, letters=False)
