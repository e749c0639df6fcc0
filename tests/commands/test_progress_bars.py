"""Progress on standard error, in a log file and in a terminal."""

import re
import time

import pytest

from jaxpersona.commands import progress_bars


def test_a_log_file_gets_a_line_when_a_stage_begins_and_when_it_ends(capsys):
    with progress_bars.progress_bars() as report:
        report("load", 0, 2)
        report("load", 1, 2)
        report("load", 2, 2)
        report("mask", 1, 1)
    out, err = capsys.readouterr()
    assert out == ""
    lines = [re.sub(r"^\[ *\d+ s\] ", "", line) for line in err.splitlines()]
    assert lines == ["load 0/2, 0 s", "load 2/2, 0 s", "mask 1/1, 0 s"]


def test_a_long_step_is_spoken_of_while_it_lasts(capsys, monkeypatch):
    monkeypatch.setattr(progress_bars, "EVERY_SECONDS", 0.02)
    with progress_bars.progress_bars() as report:
        report("search", 0, 4)
        report("search", 1, 4)
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all("search 1/4" in line and "left" in line for line in lines[1:])


@pytest.mark.parametrize("force", ["1"])
def test_a_terminal_gets_bars(capsys, monkeypatch, force):
    monkeypatch.setenv("FORCE_COLOR", force)
    with progress_bars.progress_bars() as report:
        report("load", 1, 2)
        report("load", 2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "load" in err
    assert "2/2" in err


def test_other_processes_are_silent(capsys, monkeypatch):
    monkeypatch.setattr(progress_bars, "is_first", lambda: False)
    with progress_bars.progress_bars() as report:
        report("load", 1, 2)
    assert capsys.readouterr() == ("", "")
