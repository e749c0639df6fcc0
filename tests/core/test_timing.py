"""Wall time adds up by stage."""

import time

import pytest

from jaxpersona.core.timing import timed


def test_stages_add_up(monkeypatch):
    clock = iter([0.0, 1.5, 10.0, 12.0, 20.0, 20.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    seconds = {"load": 1.0}
    for stage in ("load", "save", "load"):
        with timed(seconds, stage):
            pass
    assert seconds == {"load": 2.75, "save": 2.0}


def test_errors_pass_through():
    with pytest.raises(KeyError, match="inside"), timed({}, "load"):
        raise KeyError("inside")
