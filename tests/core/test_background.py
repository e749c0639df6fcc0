"""Work beside other work: it is done, waited for, and its errors are not lost."""

import threading

import pytest

from jaxpersona.core.background import meanwhile


def test_work_goes_on_while_the_block_runs():
    begun, may_end, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        may_end.wait()
        done.append(True)

    with meanwhile(work):
        assert begun.wait(timeout=60) and not done
        may_end.set()
    assert done


def test_what_the_work_raises_comes_out_at_the_end():
    finished = []
    with pytest.raises(ValueError, match="from the thread"), meanwhile(lambda: int("from the thread")):
        finished.append(True)
    assert finished


def test_what_the_block_raises_comes_first():
    with pytest.raises(KeyboardInterrupt), meanwhile(lambda: int("from the thread")):
        raise KeyboardInterrupt


def test_work_that_is_not_to_go_beside_the_block_comes_after_it():
    done = []
    with meanwhile(lambda: done.append("work"), beside=False):
        done.append("block")
    assert done == ["block", "work"]
