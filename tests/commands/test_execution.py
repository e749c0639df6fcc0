"""Errors of a command become one line and an exit status."""

import errno
import os

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
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_the_work_become_one_line(capsys, error, status, line):
    code, out, err = finish(capsys, error)
    assert (code, out) == (status, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), KeyError("a bug")])
def test_bugs_are_not_hidden(error):
    with pytest.raises(type(error), match="a bug"):
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
