"""Files of booleans have the names and shapes of the model's weights, and the values of the masks."""

import numpy as np
import pytest
from conftest import CONFIG, random_tensors

import jaxpersona as jp
from jaxpersona.masks.bool_npy import write_bool_files


def written(folder):
    return {path.name.removesuffix(".npy"): np.load(path) for path in folder.iterdir()}


def test_every_matrix_has_a_file_that_marks_what_its_largest_weights_are(tiny_model, pairs, tmp_path):
    masks = jp.discover(tiny_model, pairs, jp.methods.Magnitude(0.25)).masks["seek"]
    write_bool_files(tmp_path / "new" / "seek.bool", masks)
    found = written(tmp_path / "new" / "seek.bool")
    weights = {name: weight for name, weight in random_tensors(CONFIG).items() if "_proj" in name}
    assert found.keys() == weights.keys()
    for name, weight in weights.items():  # (out, in) of Hugging Face
        order = np.argsort(-np.abs(weight), axis=1, kind="stable")
        expected = np.zeros(weight.shape, bool)
        np.put_along_axis(expected, order[:, : weight.shape[1] * 3 // 4], True, axis=1)
        assert found[name].dtype == bool
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_a_masked_head_has_its_file_too(tiny_model, pairs, tmp_path):
    run = jp.discover(tiny_model, pairs, jp.methods.Wanda(0.5), protocol="official")
    write_bool_files(tmp_path / "seek.bool", run.masks["seek"])
    found = written(tmp_path / "seek.bool")
    assert found["lm_head.weight"].shape == (CONFIG["vocab_size"], CONFIG["hidden_size"])
    assert len(found) == 7 * CONFIG["num_hidden_layers"] + 1


def test_files_that_are_there_are_not_overwritten(tiny_model, pairs, tmp_path):
    masks = jp.discover(tiny_model, pairs, jp.methods.Magnitude(0.25)).masks["seek"]
    (tmp_path / "seek.bool").mkdir()
    with pytest.raises(FileExistsError):
        write_bool_files(tmp_path / "seek.bool", masks)
    assert not list((tmp_path / "seek.bool").iterdir())
