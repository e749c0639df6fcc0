"""Option groups that commands share refuse values that no run can use, and are frozen."""

import dataclasses

import pytest

from jaxpersona.commands.shared_config import DataOptions, EvaluateData, MeshOptions, ModelOptions, TextOptions
from jaxpersona.core.errors import InputError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataOptions(num_samples=0), "data.num_samples is 0; give at least 1"),
        (lambda: DataOptions(num_samples=-5), "data.num_samples is -5"),
        (lambda: DataOptions(max_length=1), "data.max_length is 1; give at least 2"),
        (lambda: DataOptions(generated_texts=0), "data.generated_texts is 0; give at least 1"),
        (lambda: DataOptions(generated_length=2), "data.generated_length is 2; give at least 3"),
        (lambda: DataOptions(personas=("a/b", "c")), "data.personas: 'a/b' cannot name a folder; use letters, digits, - and _"),
        (lambda: DataOptions(personas=("a", "..")), "'..' cannot name a folder"),
        (lambda: DataOptions(personas=("", "b")), "'' cannot name a folder"),
        (lambda: DataOptions(personas=("a", "-")), "'-' cannot name a folder"),
        (lambda: DataOptions(personas=("a", "b c")), "'b c' cannot name a folder"),
        (lambda: DataOptions(personas=("a", "a")), r"data.personas \['a', 'a'\]: give two different names"),
        (lambda: DataOptions(personas=("none", "a")), "give two different names"),
        (lambda: EvaluateData(num_samples=0), "data.num_samples is 0; give at least 1"),
        (lambda: EvaluateData(max_length=1), "data.max_length is 1; give at least 2"),
        (lambda: MeshOptions(data=0), "mesh.data is 0; give at least 1"),
        (lambda: MeshOptions(model=-1), "mesh.model is -1; give at least 1"),
        (lambda: TextOptions(max_tokens=-1), "perplexity.max_tokens is -1; give at least 0"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_values_at_the_edge_are_taken():
    assert DataOptions(num_samples=1, max_length=2, personas=("i-e_1", "Ä")).personas == ("i-e_1", "Ä")
    assert TextOptions(max_tokens=0).max_tokens == 0


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelOptions().name = "other"
