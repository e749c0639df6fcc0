"""Errors of a command become one line and an exit status."""

import errno
import logging
import os
import re
import subprocess
import sys

import jax
import pytest

from jaxpersona.commands import execution
from jaxpersona.core.errors import InputError


def finish(capsys, error):
    """Runs a command that raises ``error``; returns exit status, output and errors."""
    with pytest.raises(SystemExit) as left:
        execution.execute(raising(error), None, "resume with this")
    return (left.value.code, *capsys.readouterr())


def raising(error):
    def main(config):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("bad\n  thing"), 2, "error: bad thing"),
        (KeyboardInterrupt(), 130, "interrupted: resume with this"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "error: Permission denied (/x/y)"),
        (OSError("plain"), 2, "error: plain"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 5 GB\nmore"), 2, "error: out of memory (RESOURCE_EXHAUSTED: 5 GB); use"),
        (
            jax.errors.JaxRuntimeError("INTERNAL: Out of memory allocating 9 bytes."),
            2,
            "error: out of memory (INTERNAL: Out of memory allocating 9",
        ),
        (MemoryError(), 2, "error: out of memory (MemoryError); use dtype bfloat16"),
        (MemoryError("std::bad_alloc"), 2, "error: out of memory (std::bad_alloc); use dtype bfloat16"),
        (RuntimeError("std::bad_alloc"), 2, "error: out of memory (std::bad_alloc); use"),
        (RuntimeError("can't start new thread"), 2, "error: out of memory (can't start new thread); use"),
        (ValueError("RESOURCE_EXHAUSTED: writing\nmore"), 2, "error: out of memory (RESOURCE_EXHAUSTED: writing); use"),
        (RuntimeError("Resource exhausted: 9 bytes"), 2, "error: out of memory (Resource exhausted: 9 bytes); use"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "error: out of memory ([Errno 12] Cannot allocate memory); use"),
        (ImportError("lib.so: failed to map segment from shared object"), 2, "error: out of memory (lib.so: failed to map"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_the_work_become_one_line(capsys, error, status, line):
    code, out, err = finish(capsys, error)
    assert (code, out) == (status, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


LIMITED = """
import resource
import sys

import jax
import numpy as np

from jaxpersona.commands.execution import execute


def main(config):
    jax.block_until_ready(jax.numpy.zeros(8))
    status = open("/proc/self/status").read()
    used = int(status.split("VmData:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 2**27, used + 2**27))
    {work}


execute(main, None, "")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit RLIMIT_DATA")
@pytest.mark.parametrize("work", ["np.ones(2**27)", "jax.numpy.ones(2**28).block_until_ready()", "b'1' * 2**30"])
def test_a_process_out_of_data_segment_ends_with_one_line(cache, work):
    environment = {**os.environ, "JAXPERSONA_CACHE": str(cache)}
    command = [sys.executable, "-c", LIMITED.replace("{work}", work)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: out of memory (")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [RuntimeError("a bug"), RuntimeError(), ValueError("a bug"), KeyError("a bug")])
def test_bugs_are_not_hidden(error):
    with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
        execution.execute(raising(error), None, "")


def test_compiled_code_is_cached_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.undo()
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setitem(os.environ, "JAXPERSONA_CACHE", str(tmp_path))
    try:
        execution._use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"caf\\xe9 \\u2502\n"), ("latin-1", b"caf\xe9 \\u2502\n"), ("utf-8", "café │\n".encode())]
)
def test_an_answer_is_printed_in_any_encoding(encoding, shown):
    code = "from jaxpersona.commands import execution; execution.execute(print, 'caf\\xe9 \\u2502', '')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, shown), done.stderr


def test_a_plugin_of_jax_that_does_not_start_is_reported_in_a_line(caplog):
    logger = logging.getLogger("jax._src.xla_bridge")
    logger.addFilter(execution.shorten)
    try:
        raise RuntimeError("Unable to load cuPTI. Is it installed?")
    except RuntimeError:
        logger.exception("Exception when calling %s.initialize()", "jax_plugins.xla_cuda13")
    finally:
        logger.removeFilter(execution.shorten)
    (record,) = caplog.records
    assert record.getMessage().endswith("xla_cuda13.initialize(): Unable to load cuPTI. Is it installed?; JAX uses other devices")
    assert not record.exc_info
