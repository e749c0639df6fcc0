"""What all commands share: parsing, one-line errors, exit status, progress bars."""

import dataclasses
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jsonargparse
import yaml

from jaxpersona import files
from jaxpersona.errors import InputError, nearest
from jaxpersona.progress import Report, silent


def run(
    command: str,
    config_class: type,
    main: Callable[[Any], None],
    argv: Sequence[str] | None = None,
    interrupted: str = "nothing was written; run the same command again",
) -> None:
    """Parses the command line into ``config_class`` and runs ``main``; never returns.

    Args:
      interrupted: what an interruption means; ``{again}`` in it becomes the command line.

    Exit status: 0 on success; 2 on bad usage or bad input, with one line on standard error; 130 when interrupted, with a line of
    what that means; 1 when contact with another process of the run was lost, with a line too.
    """
    try:
        config = parse(command, config_class, argv)
        _use_compilation_cache()
        _join_others()
        main(config)
    except InputError as error:
        leave(f"error: {error}", 2)
    except KeyboardInterrupt as stop:
        again = shlex.join(["python", "-m", f"jaxpersona.{command}", *(sys.argv[1:] if argv is None else argv)])
        leave(f"interrupted: {stop}" if str(stop) else f"interrupted: {interrupted.format(again=again)}", 130)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        leave(f"error: {error.strerror or error}{where}", 2)
    except RuntimeError as error:
        from jaxpersona.processes import lost_another

        reason = str(error).splitlines()[0]
        if lost_another(error):
            leave(f"error: lost contact with another process of this run ({reason}); run the same command again in all", 1, 0.0)
        if not any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "Out of memory")):
            raise
        leave(f"error: out of memory ({reason}); use dtype bfloat16, discover's stream_layers, or a smaller model", 2)
    sys.exit(0)


def leave(message: str, status: int, patience: float = 30.0) -> None:
    """Prints ``message`` as one line on standard error and exits with ``status``.

    Args:
      patience: seconds that other processes of the run have to come to the same end.
    """
    print(" ".join(message.split()), file=sys.stderr, flush=True)
    if "jax" in sys.modules:
        from jaxpersona.processes import leave_others

        leave_others(status, patience)
    sys.exit(status)


def parse(command: str, config_class: type, argv: Sequence[str] | None = None) -> Any:
    """The configuration from ``--config FILE.yaml`` and options, which overrule the file; every key is an option.

    Raises:
      InputError: for an unknown key (with the nearest known one), a wrong type, or an unreadable file.
    """
    parser = jsonargparse.ArgumentParser(
        prog=f"python -m jaxpersona.{command}", description=_summary(config_class), exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(config_class)
    try:
        parsed = parser.parse_args(argv)
        for field in dataclasses.fields(config_class):
            if dataclasses.is_dataclass(field.type) and not isinstance(parsed[field.name], jsonargparse.Namespace):
                raise InputError(_not_a_value(field.name, str(parsed[field.name]), parser))
        values = parser.instantiate(parsed)
    except jsonargparse.ArgumentError as error:
        raise InputError(_explain(str(error), parser)) from None
    except yaml.YAMLError as error:
        raise InputError(f"the YAML does not parse ({error})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"the config file is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return config_class(**{field.name: values[field.name] for field in dataclasses.fields(config_class)})


def _summary(config_class: type) -> str:
    return (config_class.__doc__ or "").splitlines()[0]


def _options(parser: jsonargparse.ArgumentParser) -> list[str]:
    return [option.removeprefix("--") for action in parser._actions for option in action.option_strings if len(option) > 2]


def _not_a_value(key: str, value: str, parser: jsonargparse.ArgumentParser) -> str:
    example = next(option for option in _options(parser) if option.startswith(f"{key}."))
    return f"config key {key!r} is {value!r}, but it only groups keys such as {example}"


def _explain(message: str, parser: jsonargparse.ArgumentParser) -> str:
    """jsonargparse's message in one line, with the nearest option where one is unknown."""
    known = _options(parser)
    group = re.search(r"(?:Group '(.+?)' does not accept option|Option) '(.+?)'", message)
    if group:
        unknown = ".".join(filter(None, group.groups()))
        return f"unknown config key {unknown!r}; {nearest(unknown, known)}"
    if message.startswith("Unexpected config"):
        return "the config file holds no keys; give a YAML mapping such as seed: 42"
    whole_group = re.search(r"Parser key \"(.+?)\":\s+Unable to load config '(.*?)'", message)
    if whole_group:
        return _not_a_value(whole_group[1], whole_group[2], parser)
    argument = re.search(r"unrecognized arguments: (?:--)?([^ =]+)", message)
    if argument:
        return f"unknown option {argument[1]!r}; {nearest(argument[1], known)}"
    key, given = re.search(r'Parser key "(.+?)"', message), re.search(r"(?:Given value|Got value): (.*)", message)
    if key and given:
        wanted = " or ".join(re.findall(r"Expected an? (.+?)(?:\. Got|$)", message, re.MULTILINE))
        for words, plain in (("<class '", ""), ("'>", ""), ("typing.Literal", "one of "), ("NoneType", "null")):
            wanted = wanted.replace(words, plain)
        return f"config key {key[1]!r} is {given[1]!r}; expected {wanted}"
    return message


def _use_compilation_cache() -> None:
    """Keeps compiled code between runs, so that the second run of a command starts fast."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(files.cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # many small programs take as long as a large one


def _join_others() -> None:
    """Connects the processes of a run on several hosts, of which only the first prints."""
    from jaxpersona import processes

    processes.start()
    if not processes.is_first():
        sys.stdout = io.StringIO()


@contextmanager
def progress_bars() -> Iterator[Report]:
    """A bar for each stage on standard error; plain when that is no terminal, none where another process shows them."""
    from jaxpersona.processes import is_first

    if not is_first():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report
