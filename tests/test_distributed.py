"""A mesh changes where things are computed, not what: masks, statistics and logits beside those of a single device."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from on_many_devices import METHODS, measure

import jaxpersona as jp
from jaxpersona import distributed
from jaxpersona.config import MeshOptions
from jaxpersona.tree import flatten

ONE = distributed.make_mesh(1, 1)
HERE = pathlib.Path(__file__).parent


def on_devices(count, *arguments, flags=""):
    """Runs ``on_many_devices.py`` with so many virtual devices."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{HERE.parent}:{HERE}"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count} {flags}"
    command = [sys.executable, str(HERE / "on_many_devices.py"), *map(str, arguments)]
    subprocess.run(command, env=environment, check=True, timeout=600)


@pytest.fixture(scope="session")
def alone(tiny_model):
    return measure(tiny_model, METHODS)


def assert_same(found, alone):
    """Masks but for near-ties, numbers within rounding."""
    both = either = 0
    for name in found.files:
        ours, theirs = found[name], alone[name]
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
        if ours.dtype == np.uint16:
            both += np.bitwise_count(ours & theirs).sum()
            either += np.bitwise_count(ours | theirs).sum()
        elif ours.dtype.kind == "U":
            assert ours == theirs, name
        else:
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5 * np.abs(theirs).max(), err_msg=name)
    assert either > 0
    assert both / either >= 0.9999


SHAPES = {
    (8, 1): "wanda,contrastive_sparse,first_order",
    (4, 2): "wanda,contrastive_sparse,first_order,random",
    (2, 4): "wanda,contrastive_sparse,first_order,sparsegpt",
    (1, 8): "wanda,contrastive_sparse,first_order",
}


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
def test_eight_devices_find_what_one_finds(tiny_folder, tmp_path, alone, shape):
    programs = tmp_path / "programs"
    flags = f"--xla_dump_to={programs} --xla_dump_hlo_as_text" if shape == (1, 8) else ""
    on_devices(8, tiny_folder, tmp_path / "found.npz", *shape, SHAPES[shape], flags=flags)
    with np.load(tmp_path / "found.npz") as found:
        assert_same(found, alone)
    if flags:
        assert_none_holds_a_whole_kernel(programs)


def assert_none_holds_a_whole_kernel(folder):
    """In no compiled program has an array on a device the dimensions of an MLP kernel, [in, out] or turned."""
    programs = [path for path in folder.glob("*after_optimizations.txt") if "jit__decode" not in path.name]  # 48 texts there
    assert len(programs) > 10
    whole = re.compile(r"\b\w+\[(?:\d+,)*(?:32,48|48,32)\]")
    holders = {path.name: whole.search(path.read_text()) for path in programs}
    assert not {name: hit.group() for name, hit in holders.items() if hit}
    assert any(re.search(r"\b\w+\[(?:\d+,)*(?:32,6|6,32)\]", path.read_text()) for path in programs)


def test_a_single_device_has_no_mesh(tiny_model):
    assert tiny_model.mesh is None
    assert distributed.row_multiple(None) == 1
    kernel = tiny_model.params["layers"]["mlp"]["up_proj"]["kernel"]
    assert distributed.by_output(kernel) is kernel
    assert distributed.make_mesh().size == 1
    batch = {"tokens": np.zeros((2, 3))}
    assert distributed.place_rows(batch, None) is batch


@pytest.mark.parametrize(("data", "model"), [(2, None), (None, 2), (3, 5)])
def test_a_mesh_of_other_devices_than_there_are_is_refused(data, model):
    with pytest.raises(jp.InputError, match=r"mesh of data \d x model \d needs \d+ devices, there are 1; give numbers"):
        distributed.make_mesh(data, model)


@pytest.mark.parametrize("key", ["data", "model"])
def test_no_mesh_has_less_than_one_device(key):
    with pytest.raises(jp.InputError, match=rf"mesh\.{key} is 0; give at least 1"):
        MeshOptions(**{key: 0})


def test_rules_split_every_kernel_and_embedding_and_nothing_that_is_added_after_a_sum(tiny_model):
    specs = {path: sharding.spec for path, sharding in flatten(distributed.shardings(tiny_model.params, ONE)).items()}
    split = {path for path, spec in specs.items() if "model" in spec}
    assert split == {path for path in specs if path.endswith(("/kernel", "/embedding"))}
    assert specs["layers/mlp/up_proj/kernel"] == PartitionSpec(None, None, "model")
    assert specs["layers/mlp/down_proj/kernel"] == PartitionSpec(None, "model", None)
    assert distributed.sharding_of("layers/self_attn/q_proj/bias", (3, 32), ONE).spec == PartitionSpec(None, "model")
    assert distributed.sharding_of("layers/self_attn/o_proj/bias", (3, 32), ONE).spec == PartitionSpec()


def test_dimensions_that_do_not_divide_stay_whole():
    seven = jax.sharding.AbstractMesh((1, 7), distributed.AXES)
    assert distributed._fitting(seven, (3, 32, 49), PartitionSpec(None, None, "model")).spec[2] == "model"
    assert distributed._fitting(seven, (3, 32, 48), PartitionSpec(None, None, "model")).spec[2] is None
    assert distributed._fitting(seven, (3, 14), PartitionSpec(None, ("model", "data"))).spec[1] == ("model", "data")


ANNOUNCEMENTS = {
    "nothing": ({}, None),
    "a shell of a larger SLURM job": ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1"}, None),
    "a TPU of one host": ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
    "a process by itself": ({"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
    "srun": ({"SLURM_STEP_NUM_TASKS": "2"}, {}),
    "mpirun": ({"OMPI_COMM_WORLD_SIZE": "4"}, {}),
    "a TPU slice": ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, {}),
    "by hand": (
        {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "SLURM_STEP_NUM_TASKS": "9"},
        {"num_processes": 2, "process_id": 1, "cluster_detection_method": "deactivate"},
    ),
}


@pytest.fixture
def calls(monkeypatch):
    """What ``jax.distributed.initialize`` is called with, in an environment that announces nothing."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "TPU_WORKER", "JAX_COORD", "JAX_NUM_P"))]:
        monkeypatch.delenv(name)
    found = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: found.append(options))
    return found


@pytest.mark.parametrize("how", ANNOUNCEMENTS)
def test_processes_connect_where_several_are_announced_and_nowhere_else(monkeypatch, calls, how):
    variables, expected = ANNOUNCEMENTS[how]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    distributed.start()
    assert calls == ([] if expected is None else [expected])


def test_half_an_announcement_is_refused(monkeypatch, calls):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    with pytest.raises(jp.InputError, match="JAX_COORDINATOR_ADDRESS is set, but JAX_NUM_PROCESSES is ''"):
        distributed.start()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(jp.InputError, match="JAX_PROCESS_ID is ''; set it to a number as well"):
        distributed.start()


def test_processes_that_do_not_find_each_other_say_so_in_one_line(monkeypatch, calls):
    def refuse(**options):
        raise RuntimeError("DEADLINE_EXCEEDED: no answer\nstack")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(jp.InputError, match=r"did not find each other \(DEADLINE_EXCEEDED: no answer\)$"):
        distributed.start()
