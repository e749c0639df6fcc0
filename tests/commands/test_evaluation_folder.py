"""An evaluation replaces what an evaluation has written, and nothing else."""

import json

import pytest
from run_records import run_record

from jaxpersona.commands.evaluation_folder import check_folder
from jaxpersona.commands.run_folder import EVALUATION_PROGRESS
from jaxpersona.core.errors import InputError


@pytest.mark.parametrize("name", ["evaluation.csv", "answers.jsonl", "answers.md"])
def test_files_of_others_are_kept(tmp_path, name):
    check_folder(tmp_path, None)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is of no evaluation, and would be replaced; move it, or give another"):
        check_folder(tmp_path, None)
    (tmp_path / EVALUATION_PROGRESS).mkdir()  # a killed evaluation may have written it
    check_folder(tmp_path, None)


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.md"])
def test_answers_are_replaced_if_the_evaluation_has_written_them(tmp_path, name):
    (tmp_path / "evaluation.csv").write_text("")
    (tmp_path / name).write_text("")
    for record, refused in (({}, True), ({"open_ended": {}}, False)):
        (tmp_path / "evaluation.json").write_text(json.dumps(record))
        if refused:
            with pytest.raises(InputError, match="is of no evaluation"):
                check_folder(tmp_path, None)
        else:
            check_folder(tmp_path, None)
    (tmp_path / "evaluation.json").write_text("{")
    check_folder(tmp_path, None)


def test_another_runs_folder_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(run_record()))
    check_folder(tmp_path, str(tmp_path))
    for run in (None, "elsewhere"):
        with pytest.raises(InputError, match="belongs to another run; choose another"):
            check_folder(tmp_path, run)
