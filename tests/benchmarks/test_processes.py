"""Processes are measured from outside, and say in a line why they failed."""

import sys

import pytest

from jaxpersona.benchmarks.processes import baseline, processor, run_process
from jaxpersona.core.errors import InputError

GOOD = """
import json, os, sys, time
options = json.load(open(sys.argv[2]))
time.sleep(0.2)
json.dump({"task": sys.argv[1], "age": time.time() - options["started"], "home": os.environ["X"]}, open(sys.argv[3], "w"))
"""


def test_time_and_result_of_a_process():
    done = run_process([sys.executable, "-c", GOOD], "t", {}, {"X": "y"})
    assert done.result["task"] == "t" and done.result["home"] == "y"
    assert 0.2 <= done.result["age"] < done.seconds + 0.1 < 60


FAILURES = {"import sys; sys.exit('no\\nsuch model')": "such model", "raise SystemExit(3)": "status 3", "": "status 0"}


@pytest.mark.parametrize(("program", "said"), FAILURES.items())
def test_a_process_that_fails_says_why(program, said):
    with pytest.raises(InputError, match=rf"failed: .*{said}$"):
        run_process([sys.executable, "-c", program], "task", {})


def test_without_pytorch_the_baseline_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'the baseline needs PyTorch; pip install "\.\[benchmark\]"'):
        baseline()


def test_the_processor_has_a_name():
    cores, _, name = processor().partition(" x ")
    assert int(cores) >= 1 and name
