"""Rows, comparisons and agreement are those computed by hand from the members' values."""

import statistics

import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.evaluation.open_answers.answer import Answer
from jaxpersona.evaluation.open_answers.panel import Panel
from jaxpersona.evaluation.open_answers.scale import Scaled
from jaxpersona.evaluation.open_answers.tally import Tally
from jaxpersona.evaluation.significance import bootstrap_interval, difference_interval

QUESTIONS = [jp.Pair(f"What of {n}?", "", "") for n in range(4)]
PERSONAS = ("gain", "loss")
LOOP = (1, 2, 3) * 5


class Read:
    """Reads its value from a word of the answer."""

    def __init__(self, name, place):
        self.name, self.about, self.place = name, f"word {place}", place

    def __call__(self, answers):
        return np.array([float(answer.text.split()[self.place]) if answer.text else np.nan for answer in answers])


def member(name, place):
    return Scaled(Read(name, place), 0.0, 1.0, (np.array([0.0, 0.6]), np.array([1.0, 0.7])))


def panel(**left):
    members = {
        "trait": [member("first", 0), member("second", 1)],
        "relevance": [member("question", 2)],
        "fluency": [member("log-probability", 3)],
    }
    return Panel(members | left, {"trait embeddings": "it is missing"})


def answers(*texts, ids=(1, 2, 3, 4), ended=True):
    return [Answer(question, text, ids, ended) for question, text in zip(QUESTIONS, texts, strict=True)]


CASES = {
    "none": answers("0.2 0.4 1 1", "0.5 0.5 1 1", "0.9 0.1 1 0", ""),
    "gain": answers("1 0.8 0.5 1", "0.6 1 1 0.5", "1 1 0 1", "0.9 0.7 1 1", ids=LOOP),
    "loss": answers("0 0.1 1 1", "0.2 0.2 1 1", "0 0 1 1", "0.4 0 1 1", ended=False),
    "prompt gain": answers("1 1 1 1", "", "1 0.4 1 1", "1 1 1 1"),
}


def expected(name, persona):
    numbers = []
    for answer in CASES[name]:
        if not answer.text:
            numbers.append(0)
            continue
        first, second, *others = map(float, answer.text.split())
        trait = (first + second) / 2
        numbers.append(statistics.harmonic_mean([trait if persona == "gain" else 1 - trait, *others]))
    return np.array(numbers)


@pytest.fixture
def tally():
    tally = Tally(panel(), PERSONAS)
    for name, said in CASES.items():
        tally.add(name, said)
    return tally


def test_rows_have_the_mean_number_of_either_persona(tally):
    record = tally.record(seed=3)
    assert [(row["mask"], row["persona"]) for row in record["results"]] == [(m, p) for m in CASES for p in PERSONAS]
    for row in record["results"]:
        numbers = expected(row["mask"], row["persona"])
        assert row["overall"] == pytest.approx(numbers.mean()) and row["n"] == 4
        assert row["ci95"] == pytest.approx(bootstrap_interval(np.mean, (numbers,), 3))
        assert row["loops"] == (4 if row["mask"] == "gain" else 0) and row["ended"] == (0 if row["mask"] == "loss" else 4)
    none = record["results"][0]
    assert (none["trait"], none["relevance"], none["fluency"]) == pytest.approx(((0.3 + 0.5 + 0.5) / 4, 0.75, 0.5))
    assert record["left_out"] == {"trait embeddings": "it is missing"}
    assert record["members"][0] == {"part": "trait", "member": "first", "about": "word 0", "reference_0": 0, "reference_1": 1}


def test_masks_are_compared_with_the_base_model_and_their_personas_cases(tally):
    rows = tally.comparisons(seed=3)
    wanted = [("gain", "none"), ("gain", "prompt gain"), ("loss", "none")]
    assert [(row["persona"], *row["cases"]) for row in rows[:-1]] == [(mask, mask, other) for mask, other in wanted]
    for row, (mask, other) in zip(rows[:-1], wanted, strict=True):
        first, second = expected(mask, mask), expected(other, mask)
        assert row["difference"] == pytest.approx((first - second).mean()) and row["n"] == 4
        assert row["ci95"] == pytest.approx(difference_interval(first, second, 3))


def test_both_masks_are_compared_with_both_cases_of_a_kind(tally):
    tally.add("prompt loss", CASES["prompt gain"])
    rows = [row for row in tally.comparisons(seed=3) if row["persona"] == "both personas"]
    assert [row["cases"] for row in rows] == [["both masks", "none"], ["both masks", "prompt"]]
    for row, other in zip(rows, ("none", "prompt gain"), strict=True):
        masks = np.mean([expected(mask, mask) for mask in PERSONAS], axis=0)
        others = np.mean([expected(other, persona) for persona in PERSONAS], axis=0)
        assert row["difference"] == pytest.approx((masks - others).mean()) and row["n"] == 4
        assert row["ci95"] == pytest.approx(difference_interval(masks, others, 3))


def test_a_persona_whose_name_ends_with_the_others_is_told_apart():
    tally = Tally(panel(), ("gain", "not gain"))
    for name, said in {"none": "none", "gain": "gain", "not gain": "loss", "prompt not gain": "prompt gain"}.items():
        tally.add(name, CASES[said])
    rows = [(row["persona"], *row["cases"]) for row in tally.comparisons(seed=3)]
    assert rows[:3] == [("gain", "gain", "none"), ("not gain", "not gain", "none"), ("not gain", "not gain", "prompt not gain")]


def test_samples_count_by_their_mean_over_each_question(tally):
    said = {"none, sampled": ("none", "loss"), "gain, sampled": ("gain", "prompt gain"), "loss, sampled": ("none",)}
    for name, samples in said.items():
        tally.add(name, [answer for case in samples for answer in CASES[case]], len(samples))
    means = {name: np.mean([expected(case, "gain") for case in samples], axis=0) for name, samples in said.items()}
    row = next(row for row in tally.record(seed=3)["results"] if (row["mask"], row["persona"]) == ("gain, sampled", "gain"))
    assert (row["n"], row["overall"]) == (4, pytest.approx(means["gain, sampled"].mean()))
    assert row["ci95"] == pytest.approx(bootstrap_interval(np.mean, (means["gain, sampled"],), 3))
    assert (row["loops"], row["ended"]) == (2, 4)
    compared = {tuple(row["cases"]): row for row in tally.comparisons(seed=3)}
    sampled = [cases for cases in compared if cases[0].endswith("sampled")]
    assert sampled == [(f"{mask}, sampled", "none, sampled") for mask in PERSONAS] and len(compared) == 7
    row = compared[sampled[0]]
    assert row["n"] == 4 and row["difference"] == pytest.approx((means["gain, sampled"] - means["none, sampled"]).mean())
    assert row["ci95"] == pytest.approx(difference_interval(means["gain, sampled"], means["none, sampled"], 3))


def test_every_answer_gets_its_parts():
    rows = Tally(panel(), PERSONAS).add("none", CASES["none"])
    assert list(rows[0]) == ["trait_gain", "relevance", "fluency", "overall_gain", "overall_loss"]
    np.testing.assert_allclose([row["overall_gain"] for row in rows], expected("none", "gain"))
    np.testing.assert_allclose([row["overall_loss"] for row in rows], expected("none", "loss"))
    assert rows[3] == dict.fromkeys(rows[3], 0)


def test_agreement_is_over_held_out_and_open_answers(tally):
    record = tally.record()
    assert [(row["member"], row["n"], row["accuracy"]) for row in record["labels"]] == [
        (name, 4, 0.75) for name in ("first", "second", "median")
    ]
    (held_out,), (said,) = record["agreement_held_out"], record["agreement_open"]
    assert (held_out["n"], held_out["agreement"]) == (4, 1)
    alike = [[1, 1, 1, 1], [1, 1, 1], [0, 1, 1, 0.0], [1, 1, 1]]  # by question, over cases that said something
    assert (said["n"], said["agreement"]) == (14, pytest.approx(np.mean([np.mean(row) for row in alike])))


@pytest.mark.parametrize("part", ["trait", "relevance", "fluency"])
def test_without_a_part_there_is_no_number(part):
    tally = Tally(panel(**{part: []}), PERSONAS)
    rows = tally.add("gain", CASES["none"])
    tally.add("none", CASES["gain"])
    record = tally.record()
    assert {row["overall_gain"] for row in rows} == {None} and rows[3].get(part) is None
    assert {(row["overall"], row["ci95"], row[part], row["n"]) for row in record["results"]} == {(None, None, None, 0)}
    assert record["comparisons"] == [] and len(record["labels"]) == (0 if part == "trait" else 3)
    other = "fluency" if part != "fluency" else "relevance"
    assert record["results"][0][other] is not None


def test_an_answer_that_cannot_be_measured_is_left_out_of_the_mean():
    class Gap(Read):
        def __call__(self, answers):
            return np.where([answer.question is QUESTIONS[1] for answer in answers], np.nan, super().__call__(answers))

    gap = Scaled(Gap("question", 2), 0.0, 1.0, (np.zeros(1), np.ones(1)))
    tally = Tally(panel(relevance=[gap]), PERSONAS)
    for name, said in CASES.items():
        tally.add(name, said)
    kept = [0, 2, 3]
    row = next(row for row in tally.record()["results"] if (row["mask"], row["persona"]) == ("gain", "gain"))
    assert (row["n"], row["overall"]) == (3, pytest.approx(expected("gain", "gain")[kept].mean()))
    assert tally.comparisons()[0]["n"] == 3
