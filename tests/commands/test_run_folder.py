"""The folder of a run appears whole or not at all, and other files stay untouched."""

import json
import os
import pathlib

import pytest
from run_records import run_record

from jaxpersona.commands import kept_progress, run_folder
from jaxpersona.commands.run_folder import staged_run
from jaxpersona.commands.run_record import read_run
from jaxpersona.core.errors import InputError


def write_entries(folder, mark="new", personas=("seek", "reject")):
    for persona in personas:
        (folder / "masks" / persona).mkdir(parents=True)
        (folder / "masks" / persona / "words").write_text(mark)
    (folder / "report.html").write_text(mark)
    (folder / "run.json").write_text(json.dumps(run_record(personas, mark=mark)))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(tmp_path):
    """Returns a folder with a run."""
    folder = tmp_path / "old"
    folder.mkdir()
    write_entries(folder, "old", ("extravert", "introvert"))
    return folder


def test_run_appears_complete_when_the_block_ends(tmp_path):
    folder = tmp_path / "a" / "b"
    with staged_run(str(folder), overwrite=False) as staging:
        write_entries(staging.result)
        assert not (folder / "run.json").exists()
        assert not (folder / "masks").exists()
    assert read_run(str(folder))["mark"] == "new"
    assert sorted(path.name for path in folder.iterdir()) == ["masks", "report.html", "run.json"]


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with staged_run("~/run", overwrite=False) as staging:
        write_entries(staging.result)
    assert read_run("~/run")["mark"] == "new"
    assert (tmp_path / "run" / "masks" / "seek").is_dir()


def refused(folder, message, overwrite=False):
    with pytest.raises(InputError, match=message), staged_run(str(folder), overwrite):
        pytest.fail("the block must not run")


def test_existing_run_is_refused_and_kept(old):
    before = contents(old)
    refused(old, f"output_dir {old} already holds a run; choose another, or --overwrite true")
    assert contents(old) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_of_other_files_is_refused_and_kept(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("mine")
    refused(tmp_path, r"holds other files \(thesis.tex\) and no run; choose another", overwrite)
    assert contents(tmp_path) == {"thesis.tex": "mine"}


def test_a_folder_called_masks_of_someone_else_is_kept(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_text("mine")
    refused(tmp_path, r"holds other files \(masks\) and no run")
    assert contents(tmp_path) == {"masks/mine.png": "mine"}


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file", "is a file; choose a folder")
    refused(tmp_path / "file" / "below", r"cannot be written \(.+\); choose another")
    refused(tmp_path / "file" / "below", r"cannot be written \(.+\); choose another", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_place_that_cannot_be_written_is_refused(tmp_path):
    if os.geteuid():
        tmp_path.chmod(0o500)
        refused(tmp_path / "run", r"cannot be written \(Permission denied\); choose another")
        tmp_path.chmod(0o700)
    elif pathlib.Path("/proc/self").exists():
        refused("/proc/run", r"cannot be written \(.+\); choose another")
    else:
        pytest.skip("root can write everywhere here")


def test_overwrite_replaces_the_run_and_keeps_other_files(old):
    (old / "notes.txt").write_text("mine")
    with staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result)
        assert read_run(str(old))["mark"] == "old"
    assert contents(old) == {
        "notes.txt": "mine",
        "masks/seek/words": "new",
        "masks/reject/words": "new",
        "report.html": "new",
        "run.json": (old / "run.json").read_text(),
    }
    assert read_run(str(old))["mark"] == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_in_the_middle_leaves_no_trace(old, tmp_path, error):
    before = contents(old)
    for folder in (old, tmp_path / "fresh"):
        with pytest.raises(error), staged_run(str(folder), overwrite=True) as staging:
            write_entries(staging.result)
            raise error
    assert contents(old) == before
    assert sorted(path.name for path in old.iterdir()) == ["masks", "report.html", "run.json"]
    assert not (tmp_path / "fresh").exists()


def test_failure_leaves_an_empty_folder_that_was_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="work"), staged_run(str(tmp_path / "empty"), overwrite=False):
        raise ValueError("work")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("step", range(6))
def test_failure_of_any_move_brings_the_old_run_back(old, monkeypatch, step):
    before, rename, moved = contents(old), pathlib.Path.rename, []

    def fail_once(self, target):
        moved.append(self)
        if len(moved) == step + 1:
            raise OSError("no more renames")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", fail_once)
    with pytest.raises(OSError, match="no more renames"), staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result)
    assert len(moved) > step
    assert contents(old) == before
    assert not list(old.glob(".jaxpersona-*"))


def test_incomplete_staging_does_not_replace_the_run(old):
    before = contents(old)
    with pytest.raises(FileNotFoundError), staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result)
        (staging.result / "run.json").unlink()
    assert contents(old) == before


def test_what_a_killed_run_left_is_cleared_away(tmp_path, old):
    for folder in (old, tmp_path / "killed"):
        (folder / ".jaxpersona-progress" / "result-abc" / "masks").mkdir(parents=True)
        with staged_run(str(folder), overwrite=True) as staging:
            write_entries(staging.result)
        assert sorted(path.name for path in folder.iterdir()) == ["masks", "report.html", "run.json"]


def test_overwrite_takes_over_a_run_that_lost_its_record(old):
    (old / "run.json").unlink()
    refused(old, "holds other files")
    with staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result)
    assert read_run(str(old))["mark"] == "new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_json_of_something_else_is_kept(tmp_path, overwrite):
    (tmp_path / "run.json").write_text('{"my": "experiment"}')
    (tmp_path / "figures").mkdir()
    with (
        pytest.raises(InputError, match=r"holds a run\.json that is of no run; choose another"),
        staged_run(str(tmp_path), overwrite),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "run.json"]


def test_a_damaged_run_is_overwritten(old):
    (old / "run.json").write_text('{"schema_ver')
    with staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result)
    assert read_run(str(old))["mark"] == "new"


def test_results_go_to_the_folder_of_their_own_run_or_of_none(old, tmp_path):
    write_entries(tmp_path / "run")
    run_folder.check_owner(old, ["elsewhere", str(old)])
    run_folder.check_owner(old / "analysis", [str(old)])
    run_folder.check_owner(tmp_path / "none", [])
    for folder in (old, old / "analysis"):
        with pytest.raises(InputError, match="belongs to another run; choose another"):
            run_folder.check_owner(folder, [str(tmp_path / "run")])


def test_overwrite_takes_an_evaluation_of_the_old_run_away(old):
    (old / "evaluation.json").write_text("{}")
    (old / "evaluation.csv").write_text("")
    with staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result)
    assert {path.name for path in old.iterdir()} == {"masks", "report.html", "run.json"}


class Killed(BaseException):
    """After which nothing is tidied up in these tests."""


def killed_run(folder, monkeypatch, owner, name, overwrite=False):
    """Stops a run where ``name`` is called, with a checkpoint and a large array, and leaves its progress."""

    def stop(*args, **options):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed), staged_run(str(folder), overwrite) as staging:
        staging.checkpoints.save("stage", {"a": 1})
        staging.checkpoints.arrays.mkdir()
        (staging.checkpoints.arrays / "large.bin").write_bytes(b"large")
        write_entries(staging.result)
        patch.setattr(owner, name, stop)
    assert (folder / ".jaxpersona-progress").is_dir()


@pytest.mark.parametrize("step", ["remove_progress", "shutil.rmtree"])
def test_killed_while_it_tidied_up_a_run_is_complete_and_the_next_command_tidies_up(tmp_path, monkeypatch, step):
    *owner, name = step.split(".")
    killed_run(tmp_path, monkeypatch, getattr(run_folder, owner[0]) if owner else kept_progress, name)
    assert read_run(str(tmp_path))["mark"] == "new"
    refused(tmp_path, "already holds a run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "report.html", "run.json"]
    killed_run(tmp_path, monkeypatch, kept_progress, "remove_progress", overwrite=True)
    with staged_run(str(tmp_path), overwrite=True) as staging:
        assert not staging.checkpoints.started
        write_entries(staging.result)


def test_progress_of_a_run_that_is_to_replace_another_is_kept(old, monkeypatch):
    killed_run(old, monkeypatch, run_folder, "_put_in_place", overwrite=True)
    refused(old, "already holds a run")
    with staged_run(str(old), overwrite=True) as staging:
        assert staging.checkpoints.started
        write_entries(staging.result)


def test_described_pairs_belong_to_the_run_that_wrote_them(old):
    with staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result, "second")
        (staging.result / "described_pairs.jsonl").write_text("pairs")
    assert contents(old)["described_pairs.jsonl"] == "pairs"
    with staged_run(str(old), overwrite=True) as staging:
        write_entries(staging.result, "third")
    assert read_run(str(old))["mark"] == "third"
    assert sorted(path.name for path in old.iterdir()) == ["masks", "report.html", "run.json"]


def test_a_run_without_masks_is_not_put_in_place(old):
    before = contents(old)
    with pytest.raises(FileNotFoundError), staged_run(str(old), overwrite=True) as staging:
        (staging.result / "described_pairs.jsonl").write_text("pairs")
    assert contents(old) == before
