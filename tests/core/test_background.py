"""Background work runs, is waited for, and its errors are raised."""

import threading

import pytest

from jaxpersona.core.background import in_background


def test_work_runs_while_the_block_runs():
    begun, may_end, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        may_end.wait()
        done.append(True)

    with in_background(work):
        assert begun.wait(timeout=60) and not done
        may_end.set()
    assert done


def test_an_error_of_the_work_is_raised_at_the_end():
    finished = []
    with pytest.raises(ValueError, match="from the thread"), in_background(lambda: int("from the thread")):
        finished.append(True)
    assert finished


def test_an_error_of_the_block_comes_first():
    with pytest.raises(KeyboardInterrupt), in_background(lambda: int("from the thread")):
        raise KeyboardInterrupt


def test_work_that_may_not_run_beside_the_block_runs_after_it():
    done = []
    with in_background(lambda: done.append("work"), beside=False):
        done.append("block")
    assert done == ["block", "work"]
