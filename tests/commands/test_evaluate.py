"""The command ``evaluate`` on a tiny model writes and prints an evaluation, or refuses with one line."""

import ast
import csv
import json
import subprocess
import sys

import pytest
from conftest import write_model

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.commands.discover import main as discover
from jaxpersona.commands.discover_config import DiscoverConfig, MethodOptions
from jaxpersona.commands.shared_config import DataOptions, ModelOptions, TextOptions
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.choices import answer_bytes, choice_row, choose
from jaxpersona.evaluation.likelihood_changes import LIKELIHOOD_KEYS
from jaxpersona.evaluation.open_answers.tfidf import train_judge

KEYS = [
    "mask",
    "prompt",
    "scoring",
    "persona",
    "n",
    "accuracy",
    "ci95",
    "margin",
    "ties",
    "missing",
    "share_a",
    "perplexity",
    "answer_nll",
    *LIKELIHOOD_KEYS,
]
CONTROLS = [
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
NO_PERPLEXITY = "--perplexity.max_tokens=0"


def write_pairs(path, questions, answers=("Gold, {}.", "No, I give {} away."), split=None):
    header = ["question", "matching", "not_matching"] + ["split"] * (split is not None)
    rows = [[f"What of {n}?", *(text.format(n) for text in answers)] + [split] * (split is not None) for n in questions]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture(scope="module")
def work(tiny_folder, tmp_path_factory):
    """Returns a folder with a run ``run`` on ``found.csv``, and held-out pairs ``held.csv``."""
    work = tmp_path_factory.mktemp("work")
    found = write_pairs(work / "found.csv", range(6))
    write_pairs(work / "held.csv", range(20, 26), ("Gold, {}.", "I give {} away."))
    data = DataOptions(found, num_samples=4, max_length=64, personas=("gain", "loss"))
    method, text = MethodOptions("wanda", 0.5, overrides={"mlp@0": 0.25}), TextOptions(max_tokens=0)
    model = ModelOptions(str(tiny_folder))
    discover(DiscoverConfig(model, data, method, text, seed=7, output_dir=str(work / "run")))
    return work


@pytest.fixture
def finish(capsys, monkeypatch, work):
    """Returns a function that runs the command on ``work``; it returns exit status, output, errors and evaluation.json."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(work)

    def run(*options, data="held.csv", subject=("--run=run",), folder="run"):
        capsys.readouterr()
        source = [f"--data.source={data}"] if data else []
        with pytest.raises(SystemExit) as left:
            cli.main("evaluate", [*subject, *source, *options])
        file = work / folder / "evaluation.json"
        return left.value.code, *capsys.readouterr(), json.loads(file.read_text()) if file.exists() else None

    return run


@pytest.fixture
def refused(finish, work):
    """Returns a function that runs a command that must fail and change nothing; it returns the error line."""

    def run(*options, **more):
        before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        status, out, err, _ = finish(*options, **more)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (status, out, len(errors)) == (2, "", 1)
        assert err.splitlines()[-1] == errors[0]
        assert "Traceback" not in err
        assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before
        return errors[0]

    return run


def test_evaluation_with_controls_and_prompts(finish, work, tiny_model):
    before = {path.name for path in (work / "run").iterdir()}
    status, out, err, found = finish(
        "--controls=true", "--prompts=[Take.,Give.]", "--perplexity.max_tokens=512", "--dtype=float32"
    )
    assert status == 0, err
    assert {path.name for path in (work / "run").iterdir()} == before | {"evaluation.json", "evaluation.csv"}
    assert (found["schema_version"], found["prompts"]) == (1, {"gain": "Take.", "loss": "Give."})
    pairs = jp.load_pairs(str(work / "held.csv"))
    assert found["data"] == {"source": "held.csv", "sha256": pairs.digest, "pairs": 6, "calibration_pairs": 0}
    rows = found["results"]
    assert all(list(row) == KEYS for row in rows)
    assert list(dict.fromkeys(row["mask"] for row in rows)) == ["none", "gain", "loss", *CONTROLS]
    prompted = {row["mask"] for row in rows if row["prompt"] != "none"}
    assert prompted == {"none", "gain", "loss"}
    models = [row for row in rows if row["mask"] not in ("longer", "shorter", "always A")]
    assert all(row["perplexity"] > 1 and row["answer_nll"] > 0 for row in models)
    assert len(models) == 2 * 4 * (3 * 3 + 6) and len(rows) - len(models) == 6

    scores = score_answers(tiny_model, tiny_model.params, [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs])
    for scoring in ("sum", "per_token", "per_byte"):
        place = {"mask": "none", "prompt": "none", "scoring": scoring, "persona": "gain"}
        (row,) = [row for row in rows if place.items() <= row.items()]
        expected = choice_row(choose(scores, answer_bytes(pairs), scoring))
        assert {key: row[key] for key in expected} == {**expected, "ci95": list(expected["ci95"])}

    accuracies = {(row["mask"], row["prompt"], row["scoring"]): row["accuracy"] for row in rows if row["persona"] == "gain"}
    for row in rows:
        share = accuracies[row["mask"], row["prompt"], row["scoring"]]
        assert row["accuracy"] == pytest.approx(share if row["persona"] == "gain" else 1 - share)
    assert (accuracies["longer", "none", "sum"], accuracies["shorter", "none", "sum"]) == (0, 1)
    named = [["gain", "loss"]] * 12 + [["random gain", "random loss"]] * 4 + [["shuffled gain", "shuffled loss"]] * 4
    assert [row["masks"] for row in found["separation"]] == named
    for row in found["separation"]:
        first, second = (accuracies[mask, row["prompt"], row["scoring"]] for mask in row["masks"])
        assert row["separation"] == pytest.approx(first - second)
        assert row["ci95"][0] <= row["separation"] <= row["ci95"][1] and 0 <= row["p_value"] <= 1

    with (work / "run" / "evaluation.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for row, written in zip(rows, table, strict=True):
        assert list(written) == KEYS
        for key, value in row.items():
            read = written[key] if isinstance(value, str) else ast.literal_eval(written[key] or "None")
            assert (list(read) if isinstance(read, tuple) else read) == value
    assert "Separation, random gain minus random loss mask" in out
    assert out.rstrip().endswith("Written: run (evaluation.json, evaluation.csv)")
    assert "What the model prefers" in (work / "run" / "report.html").read_text()
    assert jp.load_certificate(work / "run" / "masks" / "loss")["evaluation"]["data"] == found["data"]
    for name in ("none, prompt gain", "neutral, prompt none"):
        assert name in err and name not in out


def test_second_evaluation_replaces_the_first_and_is_deterministic(finish):
    first = finish(NO_PERPLEXITY, "--data.num_samples=4")
    second = finish(NO_PERPLEXITY, "--data.num_samples=4")
    assert first[0] == second[0] == 0
    assert first[3] == second[3]
    assert (first[3]["data"]["pairs"], first[3]["results"][0]["n"]) == (4, 4)
    assert all(row["perplexity"] is None for row in first[3]["results"])
    assert {row["mask"] for row in first[3]["results"]} == {"none", "gain", "loss"}
    assert first[3]["prompts"] == {} and {row["prompt"] for row in first[3]["results"]} == {"none"}


def test_built_in_sets_bring_prompts_and_their_test_split(finish):
    status, _, err, found = finish("--data.num_samples=2", "--data.max_length=300", NO_PERPLEXITY, data="builtin:wealth")
    assert status == 0, err
    assert list(found["prompts"]) == ["gain", "loss"] and "rich" in found["prompts"]["gain"]
    assert found["data"]["sha256"] == jp.load_pairs("builtin:wealth", "test").sample(2, 42).digest


@pytest.mark.parametrize("data", [None, "found", "copy"])
def test_pairs_that_the_masks_were_found_on_are_refused_whatever_file_they_are_in(refused, work, data, tmp_path):
    rows = (work / "found.csv").read_text().splitlines()
    (tmp_path / "copy.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    source = {None: str(work / "found.csv"), "found": str(work / "found.csv"), "copy": str(tmp_path / "copy.csv")}[data]
    message = f"the masks were found on 4 of the 6 pairs of {source}; give held-out pairs as --data.source (or --data.split)"
    assert refused(data=data and source) == f"error: {message}"


def test_open_answers_are_written_for_people_and_go_with_the_next_evaluation(finish, work):
    options = ["--open_ended=3", "--open_samples=1", "--max_new_tokens=4", "--letters=false"]
    status, out, err, found = finish(NO_PERPLEXITY, *options)
    assert status == 0, err
    answers = [json.loads(line) for line in (work / "run" / "answers.jsonl").read_text().splitlines()]
    cases = [name + way for name in ("none", "gain", "loss") for way in ("", ", sampled")]
    assert [row["mask"] for row in answers[::3]] == cases and {row["sample"] for row in answers} == {1}
    panel = found["open_ended"]["panel"]
    assert [row["mask"] for row in panel["results"]] == [case for case in cases for _ in range(2)]
    assert "sampled: answers drawn at random" in out and "Panel, as loss: loss, sampled minus none, sampled: " in out
    assert "Open answers by a panel of measures" in out and "Panel, left out: trait prompts, because there are no prompts" in out
    assert all({"trait_gain", "relevance", "fluency", "overall_gain", "overall_loss"} <= row.keys() for row in answers)
    assert found["open_ended"]["judge"]["n"] == 12 and len(found["open_ended"]["results"]) == 6
    written = (work / "run" / "answers.md").read_text()
    assert "3 of 3 questions, drawn at random." in written and "| gain, sampled | none, sampled | 3 |" in written
    assert "answers.jsonl" in out and "Open answers that talk like gain, to 3 questions" in out
    assert finish(NO_PERPLEXITY, "--letters=false")[0] == 0
    assert not any((work / "run" / name).exists() for name in ("answers.jsonl", "answers.md"))


def test_bundles_by_themselves_have_open_answers_with_other_pairs_for_the_judges(finish, work, tmp_path):
    other = write_pairs(tmp_path / "other.csv", range(40, 46), ("Gold, {}!", "Give {} away!"))
    subject = ["--masks=[run/masks/gain,run/masks/loss]", f"--output_dir={tmp_path / 'out'}"]
    options = [NO_PERPLEXITY, "--open_ended=2", "--max_new_tokens=3", "--letters=false", "--panel=false", f"--judge_data={other}"]
    status, out, err, found = finish(*options, subject=subject, folder=tmp_path / "out")
    assert status == 0, err
    assert found["open_ended"]["judge"] == json.loads(json.dumps(train_judge(*map(jp.load_pairs, (other, "held.csv"))).record()))
    assert "panel" not in found["open_ended"] and "panel of measures" not in out


@pytest.mark.parametrize("names", [["gain", "loss"], ["loss"]])
def test_bundles_by_themselves_are_evaluated_like_those_of_the_run(finish, work, tmp_path, names):
    expected = finish(NO_PERPLEXITY)[3]
    bundles = [str(work / "run" / "masks" / name) for name in names]
    subject = [
        f"--masks=[{','.join(bundles)}]" if len(bundles) > 1 else f"--masks={bundles[0]}",
        f"--output_dir={tmp_path / 'out'}",
    ]
    status, _, err, found = finish(NO_PERPLEXITY, subject=subject, folder=tmp_path / "out")
    assert status == 0, err
    assert found["results"] == [row for row in expected["results"] if row["mask"] in ("none", *names)]
    assert found["separation"] == (expected["separation"] if len(names) == 2 else [])


def test_baselines_can_be_named_alone_or_in_a_list(finish):
    for option in ("--baselines=rag", "--baselines=[rag]"):
        found = finish(NO_PERPLEXITY, option, "--letters=false")[3]
        assert {"rag gain", "rag loss"} <= {row["prompt"] for row in found["results"]}


def test_official_protocol_has_the_scripts_scorings(finish):
    found = finish(NO_PERPLEXITY, "--protocol=official", "--prompts=[Take.,Give.]", "--letters=false")[3]
    assert {row["scoring"] for row in found["results"]} == {"prompt_mean", "sum"}
    assert ("gain", "none") not in {(row["mask"], row["prompt"]) for row in found["results"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--masks=run/masks/gain"], "give either --run DIR or --masks DIR"),
        (["--model=x"], "model 'x' is not an alias"),
        (["--prompts=['Take.',' ']"], "prompts: one is empty, and would be no prompt; give two texts"),
        (["--baselines=rga"], "baseline 'rga' is unknown; did you mean 'rag'"),
        (["--open_ended=-1"], "open_ended is -1; give at least 0"),
        (["--open_samples=4"], "open_samples is 4, but open_ended is 0; the panel judges samples of open answers"),
        (["--judge_data=held.csv"], "judge_data is given, but open_ended is 0; give a number of questions or leave out"),
        (["--judge_data=held.csv", "--open_ended=1"], "judge_data: 6 of the 6 held-out pairs are in held.csv; give another set"),
        (["--judge_data=none.csv", "--open_ended=1"], "judge_data: data file none.csv does not exist"),
        (["--judge_data=builtin:welth", "--open_ended=1"], "judge_data: data.source 'builtin:welth': no built-in set"),
        (["--rag_k=0"], "rag_k is 0; give at least 1"),
        (["--protocol=official"], "protocol official evaluates masks behind a persona prompt; give two as prompts"),
        (["--run=nowhere"], "nowhere contains no run (run.json is missing); give the output_dir of a discover run"),
        (["--data.source=missing.csv"], "data file missing.csv does not exist"),
        (["--data.split=dev"], "data.split 'dev' is unknown"),
        (["--data.num_samples=0"], "data.num_samples is 0; give at least 1"),
        (["--data.max_length=513"], "data.max_length is 513, the model has 512 positions; lower it"),
        (["--data.max_length=20"], "held.csv: pair 1 cannot be scored; its answers are equal or cut by data.max_length"),
        (["--perplexity.text=missing.txt"], "text file missing.txt does not exist"),
        (["--perplexity.max_tokens=100"], "perplexity needs at least"),
        (["--prompts=[one]"], "prompts"),
        (["--persona=gain"], "unknown option 'persona'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(refused, options, message):
    assert message in refused(*options)


def test_pair_with_two_equal_answers_is_refused(refused, tmp_path):
    path = write_pairs(tmp_path / "same.csv", range(1), ("Same.", "Same."))
    assert f"error: {path}: pair 1 cannot be scored" in refused(data=path)


def test_module_is_a_command(tmp_path):
    command = [sys.executable, "-m", "jaxpersona.evaluate", "--run", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path} contains no run (run.json is missing); give the output_dir of a discover run\n"


@pytest.mark.parametrize(
    ("options", "text"), [((), "prompt_response"), (("--data.text=raw",), "raw"), (("--data.text=null",), "prompt_response")]
)
def test_the_run_says_what_the_model_reads(finish, work, tmp_path_factory, tiny_model, options, text):
    folder = write_model(tmp_path_factory.mktemp("plain") / "model")
    (folder / "chat_template.jinja").unlink()
    data = DataOptions(str(work / "found.csv"), num_samples=4, max_length=64, personas=("gain", "loss"), text="prompt_response")
    run = str(folder.parent / "run")
    discover(
        DiscoverConfig(
            ModelOptions(str(folder)), data, MethodOptions("magnitude", 0.5), TextOptions(max_tokens=0), output_dir=run
        )
    )
    status, _, err, _ = finish("--letters=false", NO_PERPLEXITY, "--dtype=float32", *options, subject=(f"--run={run}",))
    assert status == 0, err
    found = json.loads((folder.parent / "run" / "evaluation.json").read_text())
    tokenized = [tokenize_pair(tiny_model.tokenizer, pair, text) for pair in jp.load_pairs(str(work / "held.csv"))]
    scores = score_answers(tiny_model, tiny_model.params, tokenized)
    row = next(row for row in found["results"] if (row["mask"], row["scoring"], row["persona"]) == ("none", "sum", "gain"))
    assert row["answer_nll"] == pytest.approx(scores.nll(), rel=1e-4)


def test_a_baseline_asked_for_twice_is_measured_once(finish):
    status, _, err, found = finish("--baselines=[steering,steering]", "--letters=false", NO_PERPLEXITY)
    assert status == 0, err
    keys = [(row["mask"], row["prompt"], row["scoring"], row["persona"]) for row in found["results"]]
    assert len(keys) == len(set(keys)) and any("steering gain" in key for key in keys)
