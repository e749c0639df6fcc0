"""The notebook runs top to bottom on a tiny model, and its masks turn the model to each persona."""

import importlib.metadata
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import types

import jax
import nbclient
import nbformat
import numpy as np
import pytest
from optional import optional

NOTEBOOK = pathlib.Path(__file__).parents[2] / "colab" / "quickstart.ipynb"
QUICK = """
BUDGET = {"max_perplexity_increase": 0.2, "budget_tokens": 512, "budget_tolerance": 0.25}
METHOD = jp.methods.Taylor(**BUDGET, own_weight=0, misplaced_weight=0)
GENERATED = TextAmount(4, 24)
NUM_SAMPLES, NUM_HELD_OUT, NEUTRAL_TOKENS, MAX_NEW_TOKENS = 8, 4, 512, 12
"""
MEASURE = """
import json
import urllib.request

from jaxpersona.data.neutral_text import read_text
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.models.perplexity import perplexity, windows

questions = run.calibration.tokenized
text = windows(model, read_text("builtin:neutral"), 512)


def measure(params):
    scores = score_answers(model, params, questions)
    differing = sum(len(pair.matching) + len(pair.not_matching) for pair in questions) / 2
    margin = (scores.log_prob[:, 0] - scores.log_prob[:, 1]).sum() / differing
    return float(margin), perplexity(model, params, text)


masked = {name: jp.apply_mask(model.params, mask) for name, mask in run.masks.items()}
with urllib.request.urlopen(playground.url + "v1/personas") as answer:
    assert [card["id"] for card in json.load(answer)["data"]] == ["seek", "reject"]
playground.stop()
print(json.dumps({name: measure(params) for name, params in {"none": model.params, **masked}.items()}))
"""


def execute(folder, model):
    """Runs the notebook on a tiny model with one more cell; returns all cells with their outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += f"\nMODEL = {str(model)!r}{QUICK}"
    notebook.cells.append(nbformat.v4.new_code_cell(MEASURE))
    return nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute().cells


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


@optional
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_notebook_runs_and_its_masks_turn_the_model_to_each_persona(tmp_path, tiny_folder):
    """Measures margins on the calibration pairs, as a model without any knowledge shifts on no others, and perplexity."""
    cells = execute(tmp_path, tiny_folder)
    (generating,) = [cell for cell in cells if cell.cell_type == "code" and "jp.generate" in cell.source]
    answers = re.split(r"\n\n(?= *(?:seek|reject):)", printed(generating).strip())
    assert [line.split(":")[0].strip() for line in answers] == ["none", "seek", "reject"]
    assert any("<iframe" in output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", []))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    (base, plain), (seek, after_seek), (reject, after_reject) = json.loads(printed(cells[-1])).values()
    assert seek > base > reject
    assert max(after_seek, after_reject) < 1.2001 * plain


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Returns a function that runs the cell that installs, as if nothing were there; it returns what ``pip`` was asked for."""
    (cell,) = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.get("id") == "cell-2"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    def run(source, jax, driver=None, brought=jax.__version__):
        asked, there = [], {"jax": jax, "numpy": np.__version__}
        monkeypatch.setattr(importlib.metadata, "version", there.get)
        monkeypatch.setattr(shutil, "which", lambda name: driver and f"/usr/bin/{name}")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout=f"{driver}\n"))

        def pip(name, line):
            asked.append((name, line))
            there["jax"] = brought

        shell = types.SimpleNamespace(run_line_magic=pip)
        exec(re.sub(r'^SOURCE = "[^"]*"', f"SOURCE = {source!r}", cell.source, flags=re.M), {"get_ipython": lambda: shell})
        return asked

    return run


def test_installs_from_an_address_or_an_uploaded_wheel_and_replaces_jax_only_if_it_must(install, tmp_path):
    with pytest.raises(RuntimeError, match="Set SOURCE to the address of the repository, or upload a wheel"):
        install("", "0.10.2")
    assert install("git+https://x/y", "0.10.2") == [("pip", 'install --quiet "jaxpersona[plots,serve] @ git+https://x/y"')]
    (tmp_path / "jaxpersona-0.1.0-py3-none-any.whl").touch()
    wheel = tmp_path / "jaxpersona-0.1.0-py3-none-any.whl"
    assert install("", "0.12.1") == [("pip", f'install --quiet "{wheel}[plots,serve]"')]
    assert install("", "0.7.2", "580.65.06")[0][1].endswith('[plots,serve,cuda]"')
    assert install("", "0.13.0", "550.54.15")[0][1].endswith('[plots,serve,cuda12]"')
    assert install("", "0.7.2", "NVIDIA-SMI has failed because it couldn't communicate")[0][1].endswith('[plots,serve]"')
    with pytest.raises(RuntimeError, match=r"Restart the runtime .* \(jax\)"):
        install("", "0.7.2", brought="0.12.1")
