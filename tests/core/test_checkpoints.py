"""Checkpoints come back bit for bit, damage restarts a stage, and other settings are refused."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxpersona.core import checkpoints, processes
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.errors import InputError

shapes = hnp.array_shapes(min_dims=0, min_side=0)
arrays = hnp.arrays(st.sampled_from([np.float32, np.float64, np.uint16, np.int32]), shapes)
leaves = arrays | hnp.arrays(np.uint16, shapes).map(lambda array: array.view(ml_dtypes.bfloat16))
trees = st.recursive(leaves, lambda inner: st.dictionaries(st.text(min_size=1), inner, min_size=1, max_size=3), max_leaves=6)


@given(tree=st.dictionaries(st.text(min_size=1), trees, min_size=1, max_size=3))
@settings(deadline=None, max_examples=50)
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path_factory, tree):
    folder = CheckpointFolder(tmp_path_factory.mktemp("kept"))
    folder.save("a stage", tree)
    found = folder.load("a stage")
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_arrays_come_back_where_they_were(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save("stage", {"device": jnp.arange(3), "host": np.arange(3.0)[::2], "number": 2.5})
    found = folder.load("stage")
    assert isinstance(found["device"], jax.Array) and isinstance(found["host"], np.ndarray)
    assert found["host"].tolist() == [0, 2] and found["number"].item() == 2.5


def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    folder = CheckpointFolder(tmp_path, every_seconds=5)
    written = []
    monkeypatch.setattr(checkpoints, "_write", lambda *args: written.append(now[0]) or now.__setitem__(0, now[0] + 2))  # 2 s each
    for _ in range(200):
        now[0] += 1
        folder.offer("stage", {"a": 1})
    assert written[0] == 5
    assert all(later - earlier >= 40 for earlier, later in itertools.pairwise(written)) and len(written) >= 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_restarts_its_stage(tmp_path, caplog, damage):
    folder = CheckpointFolder(tmp_path)
    folder.save("stage", {"a": np.arange(100.0)})
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes({"cut": whole[:-20], "flipped": flipped, "empty": b"", "text": b"not a checkpoint at all"}[damage])
    assert folder.load("stage") is None
    assert f"{path} is damaged" in caplog.text and "its stage restarts" in caplog.text


def test_a_full_disk_keeps_the_progress_before(tmp_path):
    """Runs a process that may not write large files."""
    code = f"""
import pathlib, resource, numpy as np
from jaxpersona.core.errors import WriteError
from jaxpersona.core.checkpoints import CheckpointFolder
folder = CheckpointFolder(pathlib.Path({str(tmp_path)!r}))
folder.save("stage", {{"a": np.arange(10)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    folder.save("stage", {{"a": np.arange(100_000)}})
except WriteError as error:
    print(error)
assert folder.load("stage")["a"].tolist() == list(range(10))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"progress could not be written to {tmp_path} (File too large); make room and run")
    assert [path.name for path in tmp_path.iterdir()] == ["stage.safetensors"]


def kept(folder, **facts):
    checkpoints = CheckpointFolder(folder)
    checkpoints.agree(facts)
    checkpoints.save("stage", {"a": 1})
    return CheckpointFolder(folder)


def test_other_facts_are_refused_and_named(tmp_path):
    checkpoints = kept(tmp_path, data={"num_samples": 8, "personas": ("a", "b")}, seed=1)
    checkpoints.agree({"data": {"num_samples": 8, "personas": ["a", "b"]}, "seed": 1})
    message = "holds an unfinished run in which data.num_samples is 8, not 9; give the same to resume, --overwrite true to start"
    with pytest.raises(InputError, match=message):
        checkpoints.agree({"data": {"num_samples": 9, "personas": ["a", "b"]}, "seed": 1})
    assert checkpoints.started
    checkpoints.agree({"seed": 2}, overwrite=True)
    assert not checkpoints.started


def test_facts_of_several_calls_add_up(tmp_path):
    kept(tmp_path, seed=1).agree({"weights": {"fingerprint": "a"}})
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.agree({"seed": 1})
    with pytest.raises(InputError, match=r"weights.fingerprint is a, not b"):
        checkpoints.agree({"weights": {"fingerprint": "b"}})


def test_a_key_that_came_or_went_is_a_change(tmp_path):
    checkpoints = kept(tmp_path, method={"overrides": {"mlp": 0.5}})
    with pytest.raises(InputError, match=r"method.overrides.mlp is 0.5, not None"):
        checkpoints.agree({"method": {"overrides": None}})


def test_damaged_facts_start_anew(tmp_path, caplog):
    checkpoints = kept(tmp_path, seed=1)
    (tmp_path / "asked.json").write_text("{")
    checkpoints.agree({"seed": 2})
    assert not checkpoints.started and "is damaged" in caplog.text


def test_processes_that_read_different_checkpoints_stop(tmp_path, monkeypatch):
    """One reads nothing while the first reads something, and the other way round."""
    folder = CheckpointFolder(tmp_path)
    monkeypatch.setattr(processes, "agreed", lambda text: "" if text else "a hash")
    for _ in range(2):
        with pytest.raises(InputError, match=r"progress in .*stage.safetensors is not the same for all processes of this run"):
            folder.load("stage")
        folder.save("stage", {"a": np.arange(3)})


def test_seconds_of_earlier_processes_add_up(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    for earlier, stage in ((0, "a"), (7, "b"), (14, "a")):
        folder = CheckpointFolder(tmp_path)
        assert folder.earlier == earlier
        now[0] += 7
        folder.save(stage, {"x": 1})
        now[0] += 1  # lost, as nothing says that it was
    (tmp_path / "c.safetensors").write_text("damaged")
    folder = CheckpointFolder(tmp_path)
    assert (folder.earlier, folder.seconds) == (21, 21)
    folder.clear()
    assert folder.earlier == 0
