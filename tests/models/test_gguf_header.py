"""GGUF headers have the contents that the ``gguf`` package reads."""

import gguf
import numpy as np
import pytest

from jaxpersona.models.gguf_header import read_header


def test_fields_and_tensors_equal_those_of_the_gguf_package(golden_gguf):
    fields = {"x.flag": True, "x.numbers": [1, -2, 3], "x.words": ["", "ä b"], "x.floats": [0.5, -1.0]}
    path = golden_gguf("llama2", "llama", fields, quantised=["blk.0.attn_q.weight", "token_embd.weight"])
    found, tensors = read_header(path)
    reader = gguf.GGUFReader(path)
    expected = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert found == expected
    assert set(tensors) == {tensor.name for tensor in reader.tensors}
    for tensor in reader.tensors:
        stored = tensors[tensor.name]
        assert stored.kind == tensor.tensor_type
        assert stored.shape == tuple(reversed(tensor.shape.tolist()))
        np.testing.assert_array_equal(stored.data.ravel(), np.ascontiguousarray(tensor.data).view(np.uint8).ravel())


ONE_FIELD = bytes(8) + (b"\x01" + bytes(7)) * 2 + b"k" + b"\x63\0\0\0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGML" + bytes(100), "magic invalid"),
        (b"GGUF" + b"\x01\0\0\0" + bytes(100), "version 1, known: 2, 3"),
        (b"GGUF" + b"\x03\0\0\0" + b"\xff" * 16, "not whole|ends within"),
        (
            b"GGUF\x03\0\0\0" + ONE_FIELD,
            "unknown metadata type 99",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, content, message):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_header(path)
