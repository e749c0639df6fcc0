"""Packed masks as safetensors: NumPy alone reads them, load_masks reads them back, and damaged files are refused."""

import json
import pathlib
import re

import numpy as np
import pytest
from conftest import same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_masks import random_masks

import jaxpersona as jp
from jaxpersona.masks.matrices import matrices
from jaxpersona.masks.packed_safetensors import write_packed

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "exports.md"


@pytest.fixture(scope="module")
def masks(tiny_model):
    return random_masks(tiny_model.params, head=True)


@pytest.fixture(scope="module")
def file(masks, tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "masks.safetensors"
    write_packed(path, masks, {"persona": "seek", "model": tiny_model.name, "fingerprint": tiny_model.fingerprint})
    return path


def test_load_masks_reads_the_file_and_its_folder(file, masks, tiny_model):
    for path, model in ((file, None), (file, tiny_model), (file.parent, tiny_model), (str(file), None)):
        found = jp.load_masks(path, model)
        assert same(found, masks) and (found.in_features, found.others) == (masks.in_features, masks.others)


def test_numpy_alone_reads_the_file_by_the_code_in_the_docs(file, masks):
    """Runs the lines of the documentation on this file."""
    [code] = re.findall(r"```python\n(import json\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert "jaxpersona" not in code and len([*filter(None, code.splitlines())]) <= 10
    names = {}
    exec(code.replace("masks.safetensors", str(file)), names)
    for name, mask in matrices(masks):
        np.testing.assert_array_equal(names["masks"][name], mask)
    assert len(names["masks"]) == 3 * 7 + 1


def test_other_weights_and_shapes_are_refused(file, masks, tmp_path, tiny_model, other_folder):
    with pytest.raises(jp.InputError, match=r"was made for .*tiny with other weights than .*other"):
        jp.load_masks(file, jp.load_model(str(other_folder), "float32"))
    write_packed(tmp_path / "a.safetensors", random_masks({"layers": {"mlp": {"up_proj": {"kernel": np.ones((1, 3, 4))}}}}), {})
    with pytest.raises(jp.InputError, match=r"down_proj/kernel is missing, in .*tiny it is"):
        jp.load_masks(tmp_path / "a.safetensors", tiny_model)


def changed(file, path, change):
    """Writes a copy whose header is changed."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    return path


UP = "model.layers.0.mlp.up_proj.weight"


def reshape(header):
    header[UP]["shape"] = header[UP]["shape"][::-1]


def rename(header):
    header["model.layers.0.mlp.side_proj.weight"] = header.pop(UP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.pop("__metadata__"), "is None version None, not jaxpersona.masks version 1"),
        (lambda header: header["__metadata__"].update(version="2"), "jaxpersona.masks version 2, not"),
        (lambda header: header["__metadata__"].pop("shapes"), "its metadata are damaged"),
        (lambda header: header["__metadata__"].update(shapes="[" * 100_000), "its metadata are damaged"),
        (lambda header: header["__metadata__"].update(shapes='{"a": 3}'), "its metadata are damaged"),
        (lambda header: header["__metadata__"].update(shapes=f'{{"{UP}": [true, 3]}}'), "its metadata are damaged"),
        (lambda header: header["__metadata__"].update(shapes=f'{{"{UP}": [99999999999, 99999999]}}'), r"up_proj.weight is U8"),
        (lambda header: header["__metadata__"].update(shapes="{}"), r"is U8 \[.*\], its shape in the metadata \[\]"),
        (lambda header: header["__metadata__"].update(others="[3]"), "its metadata are damaged"),
        (lambda header: header["__metadata__"].update(about="3"), "its metadata are damaged"),
        (lambda header: header[UP].update(dtype="I8"), r"up_proj.weight is I8 \[48, 4\]"),
        (reshape, r"up_proj.weight is U8 \[4, 48\], its shape in the metadata \[48, 32\]"),
        (rename, "up_proj.weight is missing"),
    ],
)
def test_changed_headers_are_refused(file, tmp_path, change, message):
    with pytest.raises(jp.InputError, match=message):
        jp.load_masks(changed(file, tmp_path / "masks.safetensors", change))


def test_missing_and_other_files_are_refused(tmp_path, tiny_folder):
    for path, message in (
        (tmp_path / "no.safetensors", "cannot be read"),
        (tiny_folder / "model.safetensors", "is None version None"),
    ):
        with pytest.raises(jp.InputError, match=message):
            jp.load_masks(path)


def test_changed_weights_are_refused_and_files_of_earlier_versions_are_read(file, masks, tmp_path):
    content = file.read_bytes()
    (tmp_path / "masks.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 128]))
    with pytest.raises(jp.InputError, match=r"damaged \(SHA-256 differs\); export the masks again"):
        jp.load_masks(tmp_path)
    (tmp_path / "masks.safetensors").write_bytes(content.replace(b'"sha256"', b'"sha2--"'))
    assert same(jp.load_masks(tmp_path), masks)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(tmp_path, data):
    """Changes bytes anywhere in a small file: an InputError, or masks of the same shape."""
    small = random_masks({"layers": {"mlp": {"up_proj": {"kernel": np.ones((2, 9, 4))}}}})
    path = tmp_path / "masks.safetensors"
    write_packed(path, small, {})
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 1, 9]))]))
    try:
        found = jp.load_masks(path)
    except jp.InputError:
        return
    assert [words.shape for words in found.words.values()] == [words.shape for words in small.words.values()]
