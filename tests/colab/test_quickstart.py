"""The notebook runs top to bottom, with fewer pairs and less text than a user would take."""

import pathlib
import re

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / "colab" / "quickstart.ipynb"
QUICK = """
import functools

from jaxpersona import first_order, self_text

NUM_SAMPLES, NUM_HELD_OUT, MAX_NEW_TOKENS = 16, 4, 12
self_text.write = functools.partial(self_text.write, texts=8, length=64)
first_order._BUDGET_TOKENS, first_order._STEPS = 512, 2
"""


@pytest.mark.real_model
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_notebook_runs_and_answers_under_both_personas(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert set(re.findall(r"^[A-Z_]+", parameters.source, re.MULTILINE)) == {"NUM_SAMPLES", "NUM_HELD_OUT", "MAX_NEW_TOKENS"}
    parameters.source = QUICK
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()
    (generating,) = [cell for cell in notebook.cells if cell.cell_type == "code" and "jp.generate" in cell.source]
    printed = "".join(output.text for output in generating.outputs if output.get("name") == "stdout")
    answers = re.split(r"\n\n(?= *(?:seek|reject):)", printed.strip())
    assert [line.split(":")[0].strip() for line in answers] == ["none", "seek", "reject"]
    assert all(len(line.split(":", 1)[1].split()) >= 3 for line in answers)
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
