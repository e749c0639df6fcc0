"""Memory of a device, of the host, and of this process."""

import ctypes
import os
import pathlib
import platform
import resource
import sys

import jax

_MMAP_THRESHOLD = -3  # of mallopt, in malloc.h
_LARGE = 4 * 2**20  # bytes


def release_large_buffers() -> None:
    """Makes the C library return freed buffers of 4 MiB and more to the system at once; does nothing without glibc.

    By itself, glibc keeps freed buffers of up to 32 MiB for later use, in pieces that larger arrays do not fit into: about a
    tenth of the memory of a discovery on a CPU. An environment variable ``MALLOC_MMAP_THRESHOLD_`` has precedence.
    """
    if platform.libc_ver()[0] == "glibc" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def return_freed_memory() -> None:
    """Returns memory that was freed in small pieces to the system, which the C library keeps; does nothing without glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def device_memory_bytes() -> int | None:
    """Returns the bytes that JAX may use on a device (on a CPU, the host's); None if unknown."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return host_memory_bytes()
    return (device.memory_stats() or {}).get("bytes_limit")


def host_memory_bytes(limit: pathlib.Path = pathlib.Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """Returns the bytes of host memory, or the container's limit if that is lower; None if unknown."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(found, int(text)) if text.isdigit() else found


def resident_memory_bytes(process: int) -> int | None:
    """Returns the resident memory of a process now, in bytes; None where the system does not tell (other than Linux)."""
    status = pathlib.Path(f"/proc/{process}/status")
    if not status.is_file():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def peak_memory_bytes() -> int:
    """Returns the peak resident memory of this process, in bytes.

    Reads ``VmHWM`` on Linux, where ``getrusage`` includes the process that started this one.
    """
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
