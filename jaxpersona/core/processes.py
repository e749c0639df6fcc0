"""Processes of one run, on one host or several: how they find each other, wait for each other, agree, and end together."""

import importlib.util
import os
import pathlib
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxpersona.core.errors import InputError

_PATIENCE = {"heartbeat_timeout_seconds": 300, "shutdown_timeout_seconds": 60}
_LOST = ("Gloo", "remote process exited")
"""In the words of Gloo (CPU) and of NCCL (GPU) where another process does not answer."""


def start() -> None:
    """Connects this process with the others where the environment announces several; does nothing on its own.

    Announced is by ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, by a SLURM step (``srun``) or Open
    MPI of several tasks, or by a Cloud TPU slice of several hosts. Must come before anything that uses a device.

    Raises:
      InputError: when the environment names a coordinator but not the processes, or the others cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM as news, and the process lives on
    try:
        if "JAX_COORDINATOR_ADDRESS" in os.environ:
            count, index = _number("JAX_NUM_PROCESSES"), _number("JAX_PROCESS_ID")
            if count > 1:
                jax.distributed.initialize(None, count, index, cluster_detection_method="deactivate", **_PATIENCE)
        elif _tasks_announced() > 1 or _tpu_hosts() > 1:
            jax.distributed.initialize(**_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes of this run did not find each other ({str(error).splitlines()[0]})") from None


def _number(variable: str) -> int:
    value = os.environ.get(variable, "")
    if not value.isdigit():
        raise InputError(f"JAX_COORDINATOR_ADDRESS is set, but {variable} is {value!r}; set it to a number as well")
    return int(value)


def _tasks_announced() -> int:
    """Tasks of the SLURM step or Open MPI job this process belongs to."""
    # An interactive or batch shell of a larger SLURM job is a step of one task: it must not wait for others.
    return max(int(os.environ.get(name, "1")) for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))


def _tpu_hosts() -> int:
    """Hosts of the Cloud TPU slice this process runs on; 1 where it is none."""
    named = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES")
    if named is not None:
        return len(named.split(","))
    if "TPU_SKIP_MDS_QUERY" in os.environ or importlib.util.find_spec("libtpu") is None:
        return 1  # JAX sets the variable where there is no TPU
    address = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return len(answer.read().decode().split(","))
    except (urllib.error.URLError, TimeoutError):
        return 1


def several_processes() -> bool:
    """Whether ``start`` has connected this process with others."""
    return jax.distributed.is_initialized()


def is_first() -> bool:
    """Whether this is the process that prints and writes what is not in shards: the only one, or number 0."""
    return not several_processes() or jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; ``what`` names the place."""
    if several_processes():
        multihost_utils.sync_global_devices(what)


def agreed(text: str) -> str:
    """What the first process calls this with, at most 4096 bytes, on every process."""
    if not several_processes():
        return text
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(text.encode().ljust(4096, b"\0"), np.uint8))
    return np.asarray(told).tobytes().rstrip(b"\0").decode()


def check_agreed(text: str, what: str) -> None:
    """Makes sure that the processes go on from one place.

    Args:
      text: what must be the same for all, at most 4096 bytes.
      what: its subject and verb, for the error.

    Raises:
      InputError: in a process where it is not what it is in the first.
    """
    if agreed(text) != text:
        raise InputError(f"{what} not the same for all processes of this run; choose a folder that all hosts see, or try again")


def lost_another(error: RuntimeError) -> bool:
    """Whether a computation failed because another process of the run did not answer."""
    return several_processes() and any(words in str(error) for words in _LOST)


def leave_others(status: int, patience: float) -> None:
    """Ends a process that has failed, if it is one of several; where all fail alike, each ends with its own status.

    JAX ends those that have lost one, with a status and words of its own. It does so when this one is gone, which is as soon as
    the others have come here as well, or else when they have had their time.

    Args:
      patience: that time, in seconds.
    """
    if several_processes():
        threading.Timer(patience, os._exit, [status]).start()
        jax.distributed.shutdown()
        os._exit(status)


@contextmanager
def shared_folder(parent: pathlib.Path, prefix: str) -> Iterator[pathlib.Path]:
    """A temporary folder in ``parent`` that every process sees; it goes when all have left the block.

    Raises:
      InputError: where ``parent`` is not the same folder for all processes.
    """
    made = tempfile.mkdtemp(dir=parent, prefix=prefix) if is_first() else ""
    folder = pathlib.Path(agreed(made))
    try:
        if not folder.is_dir():
            raise InputError(f"{parent} is not shared by the processes of this run; choose a folder that all hosts see")
        yield folder
        wait_for_all(str(folder))
    finally:
        if is_first():
            shutil.rmtree(folder, ignore_errors=True)
