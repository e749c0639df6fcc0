"""Parsing of a command line, and the way from there to the command."""

import dataclasses
import importlib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import jsonargparse
import yaml

from jaxpersona.core.errors import InputError, nearest


def main(command: str, argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits: parses its options, then imports and calls its ``main``.

    ``jaxpersona.commands.NAME_config`` holds the options as a dataclass without heavy imports, so that ``--help`` and mistyped
    options answer at once; ``jaxpersona.commands.NAME`` is imported afterwards.

    Exit status: 0 on success; 2 on bad usage or bad input, with one line on standard error.

    Args:
      command: the command's name.
      argv: its options; default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    options = importlib.import_module(f"jaxpersona.commands.{command}_config")
    try:
        config = parse(command, getattr(options, f"{command.title()}Config"), argv)
    except InputError as error:
        print(" ".join(f"error: {error}".split()), file=sys.stderr)
        sys.exit(2)
    module = importlib.import_module(f"jaxpersona.commands.{command}")
    again = shlex.join(["python", "-m", f"jaxpersona.{command}", *argv])
    interrupted = getattr(module, "INTERRUPTED", "nothing was written; run the same command again")
    importlib.import_module("jaxpersona.commands.execution").execute(module.main, config, interrupted.format(again=again))


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
