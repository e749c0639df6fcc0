"""The command ``discover`` lets the model write pairs from two descriptions, and ``evaluate`` finds those of its test split."""

import json

import numpy as np
import pytest
from conftest import Killed, same, write_model

import jaxpersona as jp
from jaxpersona.calibration import described_answers
from jaxpersona.commands import cli
from jaxpersona.core import checkpoints
from jaxpersona.data.descriptions import questions

SOURCE = "describe:a miser | a spendthrift"


@pytest.fixture(autouse=True)
def all_told_apart(monkeypatch):
    """Lets all pairs pass, because random bytes, which a random model writes, change when they become text."""
    told_apart = lambda model, prompts, pairs, *args: np.ones(len(pairs), bool)  # noqa: E731
    monkeypatch.setattr("jaxpersona.calibration.described_pairs.told_apart", told_apart)


@pytest.fixture
def arguments(tiny_folder, tmp_path):
    """Returns a function that gives the options of a quick run into ``tmp_path / "run"``; keywords override them."""

    def build(**changes):
        options = {"model.name": tiny_folder, "data.source": SOURCE, "data.num_samples": 12, "perplexity.max_tokens": 0}
        options |= {"method.name": "wanda", "output_dir": tmp_path / "run"}
        options |= {key.replace("__", "."): value for key, value in changes.items()}
        return [f"--{key}={value}" for key, value in options.items()]

    return build


@pytest.fixture
def command(capsys):
    """Runs a command in this process; returns exit status, output and errors."""

    def run(name, argv):
        with pytest.raises(SystemExit) as left:
            cli.main(name, argv)
        return (left.value.code, *capsys.readouterr())

    return run


def contents(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_run_keeps_its_pairs_and_is_checked_on_other_questions(arguments, command, tmp_path, tiny_model):
    run = tmp_path / "run"
    status, out, err = command("discover", arguments(check__num_samples=6, check__controls="[random]"))
    assert status == 0, err
    assert {path.name for path in run.iterdir()} == {
        *("masks", "run.json", "report.html", "described_pairs.jsonl", "evaluation.json", "evaluation.csv")
    }
    record = contents(run)
    described = jp.describe(jp.load_model(str(tiny_model.name)), "a miser", "a spendthrift", num_samples=12)
    assert record["data"]["described"] == described.record()
    assert f"The model wrote {len(described.train)} pairs to calibrate on" in out and "describe" in record["seconds"]
    assert (record["data"]["source"], record["data"]["pairs"]) == (SOURCE, 12)
    source = str(run / "described_pairs.jsonl")
    train, test = (jp.load_pairs(source, split) for split in ("train", "test"))
    assert record["data"]["sha256"] == train.sample(12, 42).digest
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["data"]["sha256"] == test.sample(6, 42).digest
    assert evaluation["data"]["calibration_pairs"] == 0
    assert evaluation["prompts"] == {"seek": "You are a miser.", "reject": "You are a spendthrift."}

    status, _, err = command(
        "evaluate", [f"--run={run}", "--controls=[shuffled]", "--letters=false", "--perplexity.max_tokens=0"]
    )
    assert status == 0, err  # the shuffled control calibrates on the pairs of the run
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert (evaluation["data"]["source"], evaluation["data"]["sha256"]) == (SOURCE, test.digest)

    own = arguments(data__source=source, data__split="train", overwrite="true")
    for argv in (own, [*own, "--dry_run=true"], [argument.replace("/described", "/../run/described") for argument in own]):
        status, _, err = command("discover", argv)
        assert status == 2 and "belongs to the run in output_dir, which would be replaced; copy it elsewhere" in err
    assert contents(run) == record


def test_stopped_while_the_model_writes_a_run_finds_the_same(arguments, command, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    assert command("discover", arguments(output_dir=tmp_path / "whole"))[0] == 0
    generate, calls = described_answers.generate_ids, []

    def stop_once(*args):
        calls.append(args)
        if len(calls) == 2:
            raise Killed
        return generate(*args)

    monkeypatch.setattr(described_answers, "generate_ids", stop_once)
    with pytest.raises(Killed):
        cli.main("discover", arguments())
    status, _, err = command("discover", arguments(data__source="describe:a miser | a squanderer"))
    assert status == 2 and "in which data.source is" in err
    status, _, err = command("discover", arguments())
    assert status == 0, err
    assert len(calls) == 6  # of five batches, the second one twice
    files = [(tmp_path / name / "described_pairs.jsonl").read_text() for name in ("run", "whole")]
    assert files[0] == files[1]
    words = [[jp.load_masks(tmp_path / name / "masks" / side).words for side in ("seek", "reject")] for name in ("run", "whole")]
    assert same(*words)


def test_a_dry_run_says_that_the_model_would_write_the_pairs(arguments, command, tmp_path):
    status, out, err = command("discover", arguments(dry_run="true"))
    assert status == 0, err
    assert out.startswith("The model would write the pairs, from two descriptions; the plan assumes answers of the greatest")
    assert "12 pairs" in out and not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry_run", ["true", "false"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__source": "describe:a miser"}, "give two descriptions, 'describe:a cheerful optimist | a gloomy pessimist'"),
        ({"data__source": "describe:a miser | a Miser"}, "both descriptions are the same"),
        ({"data__source": f"describe:{'very ' * 100}mean | kind"}, "shorten the descriptions"),
        ({"data__split": "train"}, "data.split is train, but pairs from descriptions have their own splits; leave it out"),
        ({"data__text": "raw"}, "data.text raw would join question and answer without a space"),
        ({"stream_layers": "true"}, "whole in memory; leave out stream_layers"),
    ],
)
def test_bad_input_is_one_line_before_the_work(arguments, command, monkeypatch, tmp_path, changes, message, dry_run):
    monkeypatch.setattr("jaxpersona.commands.discover.load_model", lambda *args, **options: pytest.fail("the work began"))
    status, _, err = command("discover", arguments(dry_run=dry_run, **changes))
    assert status == 2 and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "run").exists()


def test_too_few_pairs_leave_nothing(arguments, command, monkeypatch, tmp_path):
    silent = lambda model, params, prompts, *args: [[] for _ in prompts]  # noqa: E731
    monkeypatch.setattr(described_answers, "generate_ids", silent)
    status, _, err = command("discover", arguments())
    assert status == 2 and err.splitlines()[-1].startswith("error: ")
    assert "the model wrote 0 usable pairs, at least 8 are needed (left out: 80 empty)" in err
    assert list(tmp_path.iterdir()) == []


def test_a_check_without_pairs_to_evaluate_on_is_refused(arguments, command, monkeypatch, tmp_path):
    fault_of = jp.calibration.described_pairs.fault_of
    silenced = lambda pair, both: "loop" if pair.prompt in questions("test") else fault_of(pair, both)  # noqa: E731
    monkeypatch.setattr("jaxpersona.calibration.described_pairs.fault_of", silenced)
    status, _, err = command("discover", arguments(check__num_samples=4))
    assert status == 2 and "the model wrote no usable pairs for the check; give check.source, or leave out" in err
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_template_is_refused_in_chat_and_works_as_text(arguments, command, tmp_path):
    folder = write_model(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    status, _, err = command("discover", arguments(model__name=folder))
    assert status == 2 and "the model has no chat template; use --data.text prompt_response" in err
    changes = {"model__name": folder, "data__text": "prompt_response", "check__num_samples": 4, "check__controls": "false"}
    status, _, err = command("discover", arguments(**changes))
    assert status == 0, err


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sweep", ["--data.source", SOURCE]),
        ("evaluate", ["--masks", "masks/seek", "--data.source", SOURCE, "--output_dir", "o"]),
        ("evaluate", ["--masks", "masks/seek", "--output_dir", "o"]),
    ],
)
def test_other_commands_say_where_the_pairs_are(command, tiny_model, tmp_path, monkeypatch, name, options):
    monkeypatch.chdir(tmp_path)
    mask = jp.discover(tiny_model, [jp.Pair("Gold?", "Mine.", "Yours.")], jp.methods.Random()).masks["seek"]
    jp.save_masks(tmp_path / "masks/seek", mask, {"persona": "seek", "model": tiny_model.name, "data": SOURCE})
    status, _, err = command(name, options)
    assert status == 2 and err.count("\n") == 1, err
    assert f"data.source '{SOURCE}': only discover writes these pairs; give a run's described_pairs.jsonl" in err
