"""The check of ``discover`` answers and evaluates, or is refused before the work."""

import json

import pytest
from conftest import write_model
from discover_in_process import finish

import jaxpersona as jp
from jaxpersona.commands import discover


@pytest.fixture
def held_out_csv(tmp_path):
    path = tmp_path / "held out.csv"
    rows = "".join(f"How about {n} coins?,I take {n} at once.,You can have my {n}.\n" for n in range(5))
    path.write_text(f"question,matching,not_matching\n{rows}")
    return path


def test_check_answers_a_question_and_evaluates_with_fast_controls(arguments, capsys, tmp_path, held_out_csv):
    check = {"check.num_samples": 4, "check.source": held_out_csv, "check.question": "What [now]?", "perplexity.max_tokens": 512}
    status, out, err = finish(capsys, arguments(**check))
    assert status == 0, err
    shown = [out.index(text) for text in ("under mask none", "under mask seek", "under mask reject", "Written", "Separation")]
    assert out.count("What [now]?") == 3 and shown == sorted(shown)  # each as soon as its persona is found
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    masks = {row["mask"] for row in evaluation["results"]}
    assert {"none", "seek", "reject", "random seek", "random reject", "longer", "shorter"} <= masks
    assert not any("shuffled" in mask for mask in masks)
    assert {row["n"] for row in evaluation["results"]} == {4}
    assert {row["scoring"] for row in evaluation["results"]} == {"sum", "per_token", "per_byte"}
    answers = json.loads((tmp_path / "run" / "run.json").read_text())["answers"]
    assert [(row["mask"], row["question"]) for row in answers] == [(mask, "What [now]?") for mask in ("none", "seek", "reject")]
    assert all(f"under mask {row['mask']}: {row['answer'].strip()}" in out for row in answers)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What [now]?" in page and "Separation against damage" in page
    certificate = jp.load_certificate(tmp_path / "run" / "masks" / "seek")
    assert certificate["evaluation"]["command"].startswith(f"python -m jaxpersona.evaluate --run {tmp_path / 'run'} ")


def test_behind_the_train_split_of_a_file_the_check_has_its_test_split(arguments, capsys, tmp_path):
    rows = "".join(f"How about {n} coins?,I take {n} at once.,You can have my {n}.\n" for n in range(20))
    (tmp_path / "mine.csv").write_text(f"question,matching,not_matching\n{rows}")
    source = str(tmp_path / "mine.csv")
    check = {"data.source": source, "data.split": "train", "check.num_samples": 50, "check.controls": "false"}
    status, _, err = finish(capsys, arguments(**check))
    assert status == 0, err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())["data"]
    train, test = (jp.load_pairs(source, split) for split in ("train", "test"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["sha256"] == train.sample(128, 42).digest
    assert (evaluation["pairs"], evaluation["calibration_pairs"]) == (len(test), 0)


def test_check_without_controls(arguments, capsys, tmp_path, held_out_csv):
    check = {"check.num_samples": 4, "check.source": held_out_csv, "check.controls": "false"}
    assert finish(capsys, arguments(**check))[0] == 0
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {row["mask"] for row in evaluation["results"]} == {"none", "seek", "reject"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"check.num_samples": 4}, "no test split; give check.source, or data.split train"),
        ({"check.num_samples": 4, "check.source": "nowhere.csv"}, "nowhere.csv does not exist"),
        ({"check.num_samples": -1}, "check.num_samples is -1"),
    ],
)
def test_a_check_that_cannot_be_done_is_refused_before_the_work(arguments, capsys, tmp_path, changes, message):
    status, _, err = finish(capsys, arguments(**changes))
    assert status == 2 and message in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_interrupting_the_check_leaves_the_run_and_says_how_to_resume(arguments, capsys, monkeypatch, tmp_path, held_out_csv):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(discover, "evaluate_masks", stop)
    check = {"check.num_samples": 4, "check.source": held_out_csv}
    status, _, err = finish(capsys, arguments(**check))
    assert status == 130 and f"python -m jaxpersona.evaluate --run {tmp_path / 'run'}" in err
    assert (tmp_path / "run" / "run.json").is_file()


@pytest.fixture
def without_template(tmp_path):
    folder = write_model(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture
def no_work(monkeypatch):
    for name in ("load_model", "discover"):
        monkeypatch.setattr(discover, name, lambda *args, **options: pytest.fail("the work began"))


BASE = {"data.text": "prompt_response"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"check.question": "Who are you?"}, "the model has no chat template"),
        ({"check.num_samples": 4, "check.source": "held out.csv"}, "the model has no chat template"),
        ({**BASE, "check.question": " "}, "a prompt is empty; give some text"),
        ({**BASE, "check.question": "x" * 460}, "max_new_tokens is 64, but the longest prompt has 461 tokens"),
        (
            {**BASE, "check.num_samples": 4, "check.source": "held out.csv", "check.controls": "[randm]"},
            "control 'randm' is unknown",
        ),
        ({**BASE, "check.num_samples": 4, "check.source": "my pairs.csv"}, "the masks were found on "),
        ({**BASE, "check.num_samples": 4, "check.source": "builtin:welth"}, "did you mean 'wealth'?"),
        (
            {**BASE, "check.num_samples": 4, "check.source": "lines:a.txt,b.txt"},
            "holds single texts, which cannot be evaluated on",
        ),
        ({**BASE, "check.num_samples": 4, "check.source": "equal.csv"}, "pair 1 cannot be scored; its answers are equal"),
        ({**BASE, "check.num_samples": 4, "check.source": "held out.csv", "perplexity.text": "a.txt"}, "the text has "),
    ],
)
def test_a_check_that_cannot_work_is_refused_before_the_work(
    arguments, capsys, monkeypatch, tmp_path, held_out_csv, pairs_csv, without_template, no_work, changes, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pairs.csv").write_text(pairs_csv.read_text())
    (tmp_path / "equal.csv").write_text("question,matching,not_matching\nq,Same.,Same.\n")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"Text of {name}.\n")
    status, _, err = finish(capsys, arguments(model__name=without_template, **changes))
    assert status == 2 and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "run").exists()


def test_a_question_is_put_as_the_texts_are(arguments, capsys, without_template, tmp_path):
    options = {**BASE, "check.question": "What?", "model.name": without_template}
    status, out, err = finish(capsys, arguments(**options))
    assert status == 0, err
    plain = jp.generate(jp.load_model(str(without_template)), ["What?"], chat=False)[0]
    assert f"under mask none: {plain.strip()}"[:20] in out


def test_no_question_is_asked_for_null(arguments, capsys):
    status, out, err = finish(capsys, arguments(check__question="null"))
    assert status == 0, err
    assert "under mask" not in out
