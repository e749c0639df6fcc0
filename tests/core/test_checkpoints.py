"""Going on after a kill: the same masks from wherever a run was stopped, and refusals where it would be another run."""

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

import jaxpersona as jp
from jaxpersona.calibration import calibrate
from jaxpersona.core import checkpoints, files, processes
from jaxpersona.core.checkpoints import NOTHING, NOWHERE, CheckpointFolder, summed
from jaxpersona.core.errors import InputError
from jaxpersona.methods import taylor

METHODS = {
    "wanda": jp.methods.Wanda(0.5),
    "sparsegpt": jp.methods.SparseGPT(0.5, update=True),
    "share": jp.methods.FirstOrder(sparsity=0.03),
    "budget": jp.methods.FirstOrder(max_perplexity_increase=0.02),
    "steering": jp.methods.Steering(),
}


class Killed(BaseException):
    """What stops a computation in these tests."""


@pytest.fixture
def small_batches(monkeypatch):
    """Several batches to calibrate with."""
    monkeypatch.setattr(calibrate, "_BATCH_TOKENS", 128)
    monkeypatch.setattr(taylor, "_BATCH_TOKENS", 256)
    monkeypatch.setattr(taylor, "_BUDGET_TOKENS", 512)


def kill_at(monkeypatch, number, when):
    """Stops at the ``number``-th write, before or after it takes effect; returns the list of files written."""
    replacing, written = files.replacing, []

    @files.contextmanager
    def counted(path):
        with replacing(path) as temporary:
            yield temporary
            if len(written) + 1 == number and when == "before":
                raise Killed
        written.append(path)
        if len(written) == number:
            raise Killed

    monkeypatch.setattr(files, "replacing", counted)
    return written


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_stopped_at_any_write_a_run_goes_on_to_the_same_masks(tiny_model, pairs, small_batches, method, tmp_path, monkeypatch):
    """One run is stopped at its first write, then at the next after that, and so on to the end."""
    expected = jp.discover(tiny_model, pairs, method)
    stops = 0
    for when in itertools.cycle(["after", "before"]):
        with monkeypatch.context() as patch:
            kill_at(patch, 1 if when == "after" else 2, when)
            try:
                found = jp.discover(tiny_model, pairs, method, checkpoints=CheckpointFolder(tmp_path, every_seconds=0))
                break
            except Killed:
                stops += 1
    assert stops
    assert same(found.masks, expected.masks)
    if expected.statistics:
        assert found.statistics.digest == expected.statistics.digest
    finished = jp.discover(tiny_model, pairs, method, checkpoints=CheckpointFolder(tmp_path))
    assert same(finished.masks, expected.masks)


def test_a_run_that_goes_on_does_not_do_again_what_was_done(tiny_model, pairs, small_batches, tmp_path, monkeypatch):
    options = {"method": METHODS["wanda"], "checkpoints": CheckpointFolder(tmp_path, every_seconds=0)}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 2, "after")
        jp.discover(tiny_model, pairs, **options)
    steps = []
    jp.discover(tiny_model, pairs, **options, report=lambda *step: steps.append(step))
    done = [number for stage, number, _ in steps if stage == "calibrate"]
    assert done == list(range(2, steps[0][2] + 1))  # the two that were done are reported once


def test_checkpoints_of_whole_texts_are_exact(tiny_model, pairs, small_batches, tmp_path, monkeypatch):
    options = {"method": METHODS["wanda"], "protocol": "official"}
    expected = jp.discover(tiny_model, pairs, **options)
    options["checkpoints"] = CheckpointFolder(tmp_path, every_seconds=0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 2, "after")
        jp.discover(tiny_model, pairs, **options)
    assert jp.discover(tiny_model, pairs, **options).statistics.digest == expected.statistics.digest


shapes = hnp.array_shapes(min_dims=0, min_side=0)
arrays = hnp.arrays(st.sampled_from([np.float32, np.float64, np.uint16, np.int32]), shapes)
leaves = arrays | hnp.arrays(np.uint16, shapes).map(lambda array: array.view(ml_dtypes.bfloat16))
trees = st.recursive(leaves, lambda inner: st.dictionaries(st.text(min_size=1), inner, min_size=1, max_size=3), max_leaves=6)


@given(tree=st.dictionaries(st.text(min_size=1), trees, min_size=1, max_size=3))
@settings(deadline=None, max_examples=50)
def test_what_is_kept_comes_back_bit_by_bit(tmp_path_factory, tree):
    checkpoint = CheckpointFolder(tmp_path_factory.mktemp("kept"))["a stage"]
    checkpoint.save(tree)
    found = checkpoint.load()
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_arrays_come_back_where_they_were(tmp_path):
    checkpoint = CheckpointFolder(tmp_path)["stage"]
    checkpoint.save({"device": jnp.arange(3), "host": np.arange(3.0)[::2], "number": 2.5})
    found = checkpoint.load()
    assert isinstance(found["device"], jax.Array) and isinstance(found["host"], np.ndarray)
    assert found["host"].tolist() == [0, 2] and found["number"].item() == 2.5


def test_nothing_is_kept_by_default():
    NOTHING.save({"a": 1})
    NOTHING.offer({"a": 1})
    assert NOTHING.load() is None and NOWHERE["stage"].load() is None
    assert NOWHERE["stage"].once(lambda: {"a": 1}) == {"a": 1}


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6), st.integers(0, 6))
@settings(deadline=None, max_examples=30)
def test_sums_go_on_where_they_stopped(tmp_path_factory, numbers, stop):
    checkpoint, seen = CheckpointFolder(tmp_path_factory.mktemp("sums"), every_seconds=0)["sum"], []

    def sums(number):
        if len(seen) == stop:
            raise Killed
        seen.append(number)
        return {"x": np.array([number])}

    def total():
        return summed(numbers, sums, checkpoint, add=lambda a, b: jax.tree.map(np.add, a, b))

    try:
        found = total()
    except Killed:
        stop = -1
        found = total()
    assert seen == numbers
    assert found["x"].tolist() == [sum(numbers)]


def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    folder = CheckpointFolder(tmp_path, every_seconds=5)
    stage = folder["stage"]
    written = []
    monkeypatch.setattr(checkpoints, "_write", lambda *args: written.append(now[0]) or now.__setitem__(0, now[0] + 2))  # 2 s each
    for _ in range(200):
        now[0] += 1
        stage.offer({"a": 1})
    assert written[0] == 5
    assert all(later - earlier >= 40 for earlier, later in itertools.pairwise(written)) and len(written) >= 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_starts_its_stage_anew(tmp_path, caplog, damage):
    checkpoint = CheckpointFolder(tmp_path)["stage"]
    checkpoint.save({"a": np.arange(100.0)})
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes({"cut": whole[:-20], "flipped": flipped, "empty": b"", "text": b"not a checkpoint at all"}[damage])
    assert checkpoint.load() is None
    assert f"{path} is damaged" in caplog.text and "computed anew" in caplog.text


def test_a_full_disk_keeps_the_progress_before(tmp_path):
    """In a process that may not write large files."""
    code = f"""
import pathlib, resource, numpy as np
from jaxpersona.core.errors import WriteError
from jaxpersona.core.checkpoints import CheckpointFolder
checkpoint = CheckpointFolder(pathlib.Path({str(tmp_path)!r}))["stage"]
checkpoint.save({{"a": np.arange(10)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save({{"a": np.arange(100_000)}})
except WriteError as error:
    print(error)
assert checkpoint.load()["a"].tolist() == list(range(10))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"progress could not be written to {tmp_path} (File too large); make room and run")
    assert [path.name for path in tmp_path.iterdir()] == ["stage.safetensors"]


def kept(folder, **facts):
    checkpoints = CheckpointFolder(folder)
    checkpoints.agree(facts)
    checkpoints["stage"].save({"a": 1})
    return CheckpointFolder(folder)


def test_other_facts_are_refused_and_named(tmp_path):
    checkpoints = kept(tmp_path, data={"num_samples": 8, "personas": ("a", "b")}, seed=1)
    checkpoints.agree({"data": {"num_samples": 8, "personas": ["a", "b"]}, "seed": 1})
    message = "holds an unfinished run in which data.num_samples is 8, not 9; give the same to go on, --overwrite true to start"
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


def test_processes_that_read_different_checkpoints_do_not_go_on(tmp_path, monkeypatch):
    """In one that reads nothing while the first reads something, and the other way round."""
    checkpoint = CheckpointFolder(tmp_path)["stage"]
    monkeypatch.setattr(processes, "agreed", lambda text: "" if text else "a hash")
    for _ in range(2):
        with pytest.raises(InputError, match=r"progress in .*stage.safetensors is not the same for all processes of this run"):
            checkpoint.load()
        checkpoint.save({"a": np.arange(3)})


def test_seconds_of_earlier_processes_add_up(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    for earlier, stage in ((0, "a"), (7, "b"), (14, "a")):
        folder = CheckpointFolder(tmp_path)
        assert folder.earlier == earlier
        now[0] += 7
        folder[stage].save({"x": 1})
        now[0] += 1  # lost, as nothing says that it was
    (tmp_path / "c.safetensors").write_text("damaged")
    folder = CheckpointFolder(tmp_path)
    assert (folder.earlier, folder.seconds) == (21, 21)
    folder.clear()
    assert folder.earlier == 0
