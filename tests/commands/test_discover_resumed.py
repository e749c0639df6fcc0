"""The command ``discover``, stopped and run again, resumes, refuses other settings, and survives a full disk."""

import contextlib
import csv
import itertools
import json
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import LITTLE, Killed, same

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.core import checkpoints
from jaxpersona.methods.row_budget import RowBudget

LITTLE_TEXT = {"data__generated_texts": LITTLE.texts, "data__generated_length": LITTLE.length}
LITTLE_BUDGET = {"method__budget_tokens": 512, "method__budget_tolerance": 0.5}


@pytest.fixture
def arguments(tiny_folder, tmp_path):
    """Returns a function that gives the options of a quick run into ``tmp_path / "run"``; keywords override them."""
    path = tmp_path / "pairs.csv"
    rows = [(f"What of {n}?", f"Gold, {n}.", f"No, I give {n} away.") for n in range(6)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "matching", "not_matching"), *rows])

    def build(**changes):
        options = {"model.name": tiny_folder, "data.source": path, "method.name": "wanda", "perplexity.max_tokens": 512}
        options |= {"output_dir": tmp_path / "run"}
        options |= {key.replace("__", "."): value for key, value in changes.items()}
        return [f"--{key}={value}" for key, value in options.items()]

    return build


@pytest.fixture
def command(capsys, monkeypatch):
    """Returns a function that runs the command in this process and returns exit status, output and errors."""
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)

    def run(argv):
        with pytest.raises(SystemExit) as left:
            cli.main("discover", argv)
        return (left.value.code, *capsys.readouterr())

    return run


def stopped(command, monkeypatch, argv, number=3, error=KeyboardInterrupt):
    """Runs the command until its ``number``-th checkpoint."""
    write, count = checkpoints._write, itertools.count(1)

    def counted(*args):
        if next(count) == number:
            raise error
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write", counted)
        return command(argv)


def words(folder):
    return [jp.load_masks(folder / "masks" / persona).words for persona in ("seek", "reject")]


def test_interrupting_says_how_to_resume_and_that_works(arguments, command, monkeypatch, tmp_path):
    status, _, err = stopped(command, monkeypatch, arguments())
    assert status == 130
    again = f"python -m jaxpersona.discover --model.name={arguments()[0].split('=')[1]} --data.source={tmp_path}/pairs.csv"
    assert err.splitlines()[-1].startswith(f"interrupted: what is done is kept; resume with: {again} ")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".jaxpersona-progress"]
    status, _, err = command(arguments())
    assert status == 0, err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"masks", "report.html", "run.json"}
    assert command(arguments(output_dir=tmp_path / "other"))[0] == 0
    assert same(words(tmp_path / "run"), words(tmp_path / "other"))
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "other")]
    assert records[0]["perplexity"] == records[1]["perplexity"]
    assert records[0]["seconds"]["earlier processes"] > 0 and "earlier processes" not in records[1]["seconds"]
    bundles = [json.loads((tmp_path / name / "masks/seek/metadata.json").read_text()) for name in ("run", "other")]
    assert bundles[0]["statistics_sha256"] == bundles[1]["statistics_sha256"]


def test_a_changed_config_is_refused_unless_it_overwrites(arguments, command, monkeypatch, tmp_path):
    stopped(command, monkeypatch, arguments())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    status, _, err = command(arguments(seed=43))
    assert status == 2 and err.count("\n") == 1
    assert "holds an unfinished run in which seed is 42, not 43" in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")} == before
    assert command(arguments(seed=43, overwrite="true"))[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["seed"] == 43


def test_changed_data_and_other_weights_are_refused(arguments, command, monkeypatch, tmp_path, other_folder):
    stopped(command, monkeypatch, arguments())
    status, _, err = command(arguments(model__name=other_folder))
    assert status == 2 and "in which model.name is" in err
    with (tmp_path / "pairs.csv").open("a") as file:
        file.write("What else?,Mine.,Yours.\n")
    status, _, err = command(arguments())
    assert status == 2 and "in which contents.data.source is" in err


def test_a_run_that_overwrites_resumes_too(arguments, command, monkeypatch, tmp_path):
    assert command(arguments(seed=1))[0] == 0
    stopped(command, monkeypatch, arguments(overwrite="true"), number=5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["seed"] == 1
    steps = list((tmp_path / "run" / ".jaxpersona-progress").glob("calibrate-moments*"))
    assert steps
    assert command(arguments(overwrite="true"))[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["seed"] == 42


def test_two_processes_do_not_share_a_folder(arguments, command, monkeypatch, tmp_path):
    other = "import sys, filelock, pathlib; folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True)\n"
    other += "with filelock.FileLock(folder / 'lock'):\n    print('locked', flush=True); sys.stdin.read()"
    progress = tmp_path / "run" / ".jaxpersona-progress"
    with subprocess.Popen([sys.executable, "-c", other, progress], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        status, _, err = command(arguments())
        assert (status, err.count("\n")) == (2, 1)
        assert f"another process is at work in output_dir {tmp_path / 'run'}; wait for it, or choose another" in err
        process.send_signal(signal.SIGKILL)
    assert command(arguments())[0] == 0


def test_a_full_disk_leaves_progress_and_no_half_run(arguments, command, monkeypatch, tmp_path):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jaxpersona.masks.bundle._write_metadata", full)
        status, _, err = command(arguments())
    assert status == 2 and "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: masks could not be written to")
    progress = tmp_path / "run" / ".jaxpersona-progress"
    assert [path.name for path in (tmp_path / "run").iterdir()] == [progress.name]
    assert {path.suffix for path in progress.iterdir()} <= {".safetensors", ".json", ""}
    assert command(arguments())[0] == 0


def test_a_disk_too_full_for_progress_stops_the_run(arguments, command, monkeypatch, tmp_path):
    status, _, err = stopped(command, monkeypatch, arguments(), error=OSError(28, "No space left on device"))
    assert status == 2 and "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: progress could not be written to")
    assert err.splitlines()[-1].endswith(
        "(No space left on device); make room and run the same command again: it resumes from the previous checkpoint"
    )
    assert len(list((tmp_path / "run").rglob("*.safetensors"))) == 2
    assert command(arguments())[0] == 0


def test_bad_input_after_the_first_checkpoint_leaves_nothing(arguments, command, tmp_path, monkeypatch):
    monkeypatch.setattr(RowBudget, "check_model", lambda *_: None)  # which would notice it before
    status, _, err = command(arguments(method__select="mlp@9"))
    assert status == 2 and "layers 9 match nothing" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"method__name": "wanda"},
        {"method__name": "taylor", "method__sparsity": 0.03, "reuse_factors": "false", **LITTLE_TEXT},
        {"method__name": "wanda", "stream_layers": "true"},
        {"method__name": "taylor", "stream_layers": "true", **LITTLE_TEXT, **LITTLE_BUDGET},
    ],
    ids=["wanda", "taylor", "wanda streamed", "taylor streamed"],
)
def test_stopped_at_the_first_checkpoint_of_every_stage_a_run_finds_the_same(arguments, command, monkeypatch, tmp_path, given):
    """Stops each run one stage later than the previous one."""
    write, stages = checkpoints._write, []

    def stop_at_a_new_stage(path, *args):
        write(path, *args)
        if path.stem not in stages:
            stages.append(path.stem)
            raise Killed

    assert command(arguments(output_dir=tmp_path / "whole", **given))[0] == 0
    monkeypatch.setattr(checkpoints, "_write", stop_at_a_new_stage)
    stopped_at = 0
    with contextlib.suppress(SystemExit):
        while True:
            with pytest.raises(Killed):
                cli.main("discover", arguments(**given))
            stopped_at += 1
    assert stopped_at == len(stages) >= 3
    assert same(words(tmp_path / "run"), words(tmp_path / "whole"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"masks", "report.html", "run.json"}


KILLER = """
import contextlib, itertools, os, signal, sys
from jaxpersona.commands import cli
from jaxpersona.core import checkpoints, files
from jaxpersona.masks.mask_writer import MaskWriter

def killing(work, calls):
    count = itertools.count(1)

    def counted(*args):
        if next(count) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*args)

    return counted

what, calls = sys.argv[1], int(sys.argv[2])
checkpoints.EVERY_SECONDS, replacing, in_between = 0.0, files.replacing, killing(lambda: None, calls)

@contextlib.contextmanager
def half_replacing(path):
    with replacing(path) as temporary:
        yield temporary
        in_between()

if what == "file":
    files.replacing = half_replacing
else:
    MaskWriter.put = killing(MaskWriter.put, calls)
cli.main("discover", sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("what", "calls", "given"),
    [("file", 5, {}), ("mask", 17, {"stream_layers": "true"})],
    ids=["before a file is renamed", "within a streamed layer"],
)
def test_killed_by_the_system_a_run_resumes(arguments, command, environment, tmp_path, what, calls, given):
    """Kills a real process; the run is resumed in this one."""
    assert command(arguments(output_dir=tmp_path / "whole"))[0] == 0
    argv = [sys.executable, "-c", KILLER, what, str(calls), *arguments(**given)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list((tmp_path / "run").rglob("*.safetensors"))
    status, _, err = command(arguments(**given))
    assert status == 0, err
    assert same(words(tmp_path / "run"), words(tmp_path / "whole"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"masks", "report.html", "run.json"}


def test_killed_while_the_result_is_put_in_place(arguments, command, monkeypatch, tmp_path):
    """Kills one run at each move in turn, and undoes nothing after the kill, unlike after an error."""
    given = {"method__name": "magnitude", "perplexity__max_tokens": 0}
    rename = pathlib.Path.rename
    assert command(arguments(**given))[0] == 0
    expected = words(tmp_path / "run")
    for number in range(1, 7):
        moved = itertools.count(1)

        def counted(self, target, moved=moved, number=number):
            if self.name in ("masks", "report.html", "run.json") and next(moved) >= number:
                raise Killed
            return rename(self, target)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(pathlib.Path, "rename", counted)
            command(arguments(**given, overwrite="true"))
        status, _, err = command(arguments(**given, overwrite="true"))
        assert status == 0, err
        assert same(words(tmp_path / "run"), expected)


def test_a_streamed_run_resumes_and_refuses_other_weights(arguments, command, monkeypatch, tmp_path, tiny_folder, other_folder):
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    given = {"model__name": model, "stream_layers": "true"}
    status, _, err = stopped(command, monkeypatch, arguments(**given), number=5)
    assert status == 130 and "resume with: python -m jaxpersona.discover" in err.splitlines()[-1]
    assert "seed is 42, not 43" in command(arguments(**given, seed=43))[2]
    assert "stream_layers is True, not False" in command(arguments(model__name=model))[2]
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes((other_folder / weights.name).read_bytes())
    status, _, err = command(arguments(**given))
    assert status == 2 and "holds an unfinished run in which weights.files is" in err
    assert command(arguments(**given, output_dir=tmp_path / "run", overwrite="true"))[0] == 0
    assert len(list((tmp_path / "run").iterdir())) == 3
    weights.write_bytes(whole)
    stopped(command, monkeypatch, arguments(**given, overwrite="true"), number=5)
    assert list((tmp_path / "run").rglob("arrays/*.bin"))
    assert command(arguments(**given, overwrite="true"))[0] == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"masks", "report.html", "run.json"}
    assert command(arguments(model__name=model, output_dir=tmp_path / "whole"))[0] == 0
    assert same(words(tmp_path / "run"), words(tmp_path / "whole"))
