"""Processes of one run find each other where several are announced, agree, and end together."""

import os
import sys

import jax
import pytest
from several_processes import on_two_processes

import jaxpersona as jp
from jaxpersona.core import processes

ANNOUNCEMENTS = {
    "nothing": ({}, None),
    "a shell of a larger SLURM job": ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1"}, None),
    "a TPU of one host": ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
    "a process by itself": ({"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
    "srun": ({"SLURM_STEP_NUM_TASKS": "2"}, ()),
    "mpirun": ({"OMPI_COMM_WORLD_SIZE": "4"}, ()),
    "a TPU slice": ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, ()),
    "by hand": (
        {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "SLURM_STEP_NUM_TASKS": "9"},
        (None, 2, 1),
    ),
}


@pytest.fixture
def calls(monkeypatch):
    """Records the calls of ``jax.distributed.initialize``, in an environment that announces nothing."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "TPU_WORKER", "JAX_COORD", "JAX_NUM_P"))]:
        monkeypatch.delenv(name)
    found = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *place, **options: found.append(place))
    return found


@pytest.mark.parametrize("how", ANNOUNCEMENTS)
def test_processes_connect_where_several_are_announced_and_nowhere_else(monkeypatch, calls, how):
    variables, expected = ANNOUNCEMENTS[how]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    processes.start()
    assert calls == ([] if expected is None else [expected])


def test_half_an_announcement_is_refused(monkeypatch, calls):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    with pytest.raises(jp.InputError, match="JAX_COORDINATOR_ADDRESS is set, but JAX_NUM_PROCESSES is ''"):
        processes.start()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(jp.InputError, match="JAX_PROCESS_ID is ''; set it to a number as well"):
        processes.start()


def test_processes_that_do_not_find_each_other_say_so_in_one_line(monkeypatch, calls):
    def refuse(*place, **options):
        raise RuntimeError("DEADLINE_EXCEEDED: no answer\nstack")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(jp.InputError, match=r"did not find each other \(DEADLINE_EXCEEDED: no answer\)$"):
        processes.start()


def test_bad_input_ends_all_processes_with_one_line(tiny_folder, tmp_path):
    discover = sys.executable, "-m", "jaxpersona.discover", "--model.name", tiny_folder
    (tmp_path / "run.json").write_text('{"schema_version": 1}')
    printed, statuses = on_two_processes(*discover, "--output_dir", tmp_path)
    assert statuses == [2, 2], printed
    for _, errors in printed:
        assert "already holds a run" in errors
    printed, statuses = on_two_processes(*discover, "--mesh.data", 3)
    assert statuses == [2, 2], printed
    assert "mesh of data 3 x model 1 needs 3 devices, there are 4" in printed[0][1]


def test_only_a_run_of_several_processes_can_lose_one(monkeypatch):
    gone = RuntimeError("UNKNOWN: Gloo AllReduce failed: Read error: Connection reset by peer")
    assert not processes.lost_another(gone)
    monkeypatch.setattr(processes, "several_processes", lambda: True)
    assert processes.lost_another(gone)
    assert not processes.lost_another(RuntimeError("RESOURCE_EXHAUSTED: out of memory"))


def test_processes_that_see_different_things_stop(monkeypatch):
    processes.check_agreed("a", "the file is")
    monkeypatch.setattr(processes, "agreed", lambda text: "what the first process sees")
    processes.check_agreed("what the first process sees", "the file is")
    with pytest.raises(jp.InputError, match=r"^the file is not the same for all processes of this run; choose a folder that all"):
        processes.check_agreed("a", "the file is")


def test_a_process_alone_agrees_with_itself_and_waits_for_nobody(tmp_path):
    processes.wait_for_all("here")
    assert processes.is_first() and processes.agreed("yes") == "yes"
    with processes.shared_folder(tmp_path, "shared-") as folder:
        assert folder.parent == tmp_path and folder.name.startswith("shared-")
    assert not folder.exists()
