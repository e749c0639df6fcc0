"""The processes of one run, on one host or several: connecting, barriers, agreement and shutdown."""

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
"""Parts of the errors of Gloo (CPU) and NCCL (GPU) when another process does not answer."""


def start() -> None:
    """Connects the processes of a run if the environment defines several; otherwise does nothing.

    The environment defines several by one of:
      - ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``
      - a SLURM step (``srun``) or an Open MPI job of several tasks
      - a Cloud TPU slice of several hosts

    Must be called before anything uses a device.

    Raises:
      InputError: if a coordinator is set without the number of processes, or the others cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    jax.config.update("jax_enable_preemption_service", False)  # it intercepts SIGTERM, which then no longer ends the process
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
    """Returns the number of tasks of this process's SLURM step or Open MPI job."""
    # SLURM_STEP_..., not SLURM_NTASKS: a shell inside a larger SLURM job is a step of one task and must not wait for others.
    return max(int(os.environ.get(name, "1")) for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))


def _tpu_hosts() -> int:
    """Returns the number of hosts of the Cloud TPU slice this process runs on; 1 elsewhere."""
    named = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES")
    if named is not None:
        return len(named.split(","))
    if "TPU_SKIP_MDS_QUERY" in os.environ or importlib.util.find_spec("libtpu") is None:
        return 1  # JAX sets the variable if there is no TPU
    address = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return len(answer.read().decode().split(","))
    except (urllib.error.URLError, TimeoutError):
        return 1


def several_processes() -> bool:
    """Returns whether ``start`` has connected this process with others."""
    return jax.distributed.is_initialized()


def is_first() -> bool:
    """Returns whether this is the only process or process 0, which prints and writes everything that is not sharded."""
    return not several_processes() or jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Blocks until every process has called this; ``what`` names the barrier."""
    if several_processes():
        multihost_utils.sync_global_devices(what)


def agreed(text: str) -> str:
    """Broadcasts the first process's ``text``, at most 4096 bytes, and returns it on every process."""
    if not several_processes():
        return text
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(text.encode().ljust(4096, b"\0"), np.uint8))
    return np.asarray(told).tobytes().rstrip(b"\0").decode()


def check_agreed(text: str, what: str) -> None:
    """Checks that all processes pass the same ``text``.

    Args:
      text: at most 4096 bytes.
      what: subject and verb of the error message.

    Raises:
      InputError: in a process whose text differs from the first one's.
    """
    if agreed(text) != text:
        raise InputError(f"{what} not the same for all processes of this run; choose a folder that all hosts see, or try again")


def lost_another(error: RuntimeError) -> bool:
    """Returns whether a computation failed because another process of the run did not answer."""
    return several_processes() and any(words in str(error) for words in _LOST)


def leave_others(status: int, patience: float) -> None:
    """Ends this process after an error, if it is one of several; if all fail alike, each exits with its own status.

    Waits until the others fail as well, at most ``patience`` seconds. JAX then ends those that are still running, with its own
    status and message, because they have lost a process.

    Args:
      status: exit status of this process.
      patience: seconds.
    """
    if several_processes():
        threading.Timer(patience, os._exit, [status]).start()
        jax.distributed.shutdown()
        os._exit(status)


@contextmanager
def shared_folder(parent: pathlib.Path, prefix: str) -> Iterator[pathlib.Path]:
    """Yields a temporary folder in ``parent`` that every process sees; it is deleted when all have left the block.

    Raises:
      InputError: if ``parent`` is not the same folder for all processes.
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
