"""PyTorch's side, where it is installed, gives the same masks and scores, and runs every task."""

import importlib.util
import subprocess
import sys

import pytest
from conftest import write_model

from jaxpersona.benchmarks import discover, generate, multiple_choice, switch
from jaxpersona.benchmarks.config import BenchmarkConfig

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
_SELF_CONTAINED = """
import sys
import jaxpersona.benchmarks.torch_baseline
ours = {name for name in sys.modules if name.partition(".")[0] == "jaxpersona"} - {"jaxpersona", "jaxpersona.benchmarks"}
assert ours == {"jaxpersona.benchmarks.torch_baseline"}, ours
assert "jax" not in sys.modules
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The tiny model as Transformers wants it, which asks for a ``model_type``."""
    folder = write_model(tmp_path_factory.mktemp("both") / "tiny", model_type="llama")
    return {"model": str(folder), "dtype": "float32", "repeats": 1}


def rows_of(measured):
    return {row.name.partition("/")[2]: row for row in measured.rows}


def test_it_needs_nothing_of_the_package():
    done = subprocess.run([sys.executable, "-c", _SELF_CONTAINED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_torch
def test_it_finds_the_same_masks(config, pairs_file, in_process):
    rows = rows_of(discover.run(BenchmarkConfig(**config, data=pairs_file, num_samples=8, sparsity=0.5)))
    assert rows["Jaccard of our masks and PyTorch's"].value > 0.999
    assert rows["wanda, warm: mask"].baseline and rows["bytes of both masks"].ratio > 1
    assert in_process == [("worker", "discover")] * 2 + [("torch_baseline", "discover")]


@needs_torch
def test_it_scores_alike(config, pairs_file, in_process):
    rows = rows_of(multiple_choice.run(BenchmarkConfig(**config, data=pairs_file, num_samples=8)))
    assert rows["same choice as PyTorch"].value == 1
    assert rows["median difference of margins"].value < 1e-3
    assert rows["warm: a question"].baseline


@needs_torch
def test_it_generates_and_switches(config, pairs_file, in_process):
    rows = generate.run(BenchmarkConfig(**config, data=pairs_file, batches=[2], new_tokens=3)).rows
    assert [row.name.rpartition(" ")[0] for row in rows] == ["generate/batch 2, PyTorch in"]
    rows += switch.run(BenchmarkConfig(**config, switches=2)).rows
    assert all(row.baseline for row in rows)
    assert [row.versions["torch"] for row in rows] == ["2"] * 3
