"""Which block sizes a device gets."""

import jax

from jaxpersona.kernels import blocks


def test_a_device_in_the_table_gets_its_entry_and_any_other_the_platforms_default(monkeypatch):
    assert blocks.blocks_for("tpu") == blocks.TPU
    assert blocks.blocks_for("gpu") == blocks.GPU
    tuned = blocks.Blocks(inputs=512)
    monkeypatch.setitem(blocks.TABLE, "TPU v9", tuned)
    monkeypatch.setattr(jax, "devices", lambda: [type("Device", (), {"device_kind": "TPU v9", "platform": "tpu"})])
    assert blocks.blocks_for("tpu") == tuned
    assert blocks.blocks_for("gpu") == blocks.GPU
