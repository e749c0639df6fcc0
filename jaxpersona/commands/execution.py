"""Execution of a parsed command: compilation cache, processes, one-line errors, exit status."""

import io
import logging
import sys
from collections.abc import Callable
from typing import Any

import jax

from jaxpersona.core import cpu_threads, files, processes
from jaxpersona.core.errors import InputError, out_of_memory
from jaxpersona.core.memory import release_large_buffers


def execute(main: Callable[[Any], None], config: Any, interrupted: str) -> None:
    """Calls ``main(config)`` and exits.

    Exit status: 0 on success; 2 on bad input, and where memory or disk run out, with one line on standard error; 130 when
    interrupted, with a line that says how to resume; 1 when contact with another process of the run was lost, with a line too.
    A bug shows its traceback.

    Args:
      interrupted: what an interruption means, unless the KeyboardInterrupt says it.
    """
    try:
        _print_any_character()
        release_large_buffers()
        _use_compilation_cache()
        logging.getLogger("jax._src.xla_bridge").addFilter(shorten)
        cpu_threads.start_enough()
        _join_others()
        main(config)
    except InputError as error:
        leave(f"error: {error}", 2)
    except KeyboardInterrupt as stop:
        leave(f"interrupted: {str(stop) or interrupted}", 130)
    except Exception as error:
        if isinstance(error, RuntimeError) and processes.lost_another(error):
            reason = str(error).splitlines()[0]
            leave(f"error: lost contact with another process of this run ({reason}); run the same command again in all", 1, 0.0)
        message = out_of_memory(error) or _of_system(error)
        if message is None:
            raise
        leave(f"error: {message}", 2)
    sys.exit(0)


def _of_system(error: Exception) -> str | None:
    """Returns what the operating system refused; None for other errors."""
    if not isinstance(error, OSError):
        return None
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def leave(message: str, status: int, patience: float = 30.0) -> None:
    """Prints ``message`` as one line on standard error and exits with ``status``.

    Args:
      patience: seconds that other processes of the run have to come to the same end.
    """
    print(" ".join(message.split()), file=sys.stderr, flush=True)
    processes.leave_others(status, patience)
    sys.exit(status)


def _print_any_character() -> None:
    """Escapes characters that the terminal's encoding lacks, so that no answer ends in an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, so that the second run of a command starts fast."""
    jax.config.update("jax_compilation_cache_dir", str(files.cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # many small programs take as long as a large one


def shorten(record: logging.LogRecord) -> bool:
    """Replaces the traceback of a JAX plugin that does not start, such as CUDA's without a GPU, by its last line."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = "%s: %s; JAX uses other devices", (record.getMessage(), record.exc_info[1])
        record.exc_info = record.exc_text = None
    return True


def _join_others() -> None:
    """Connects the processes of a run on several hosts, of which only the first prints."""
    processes.start()
    if not processes.is_first():
        sys.stdout = io.StringIO()
