"""Command lines: parses the options of a command, then imports and runs it."""

import argparse
import dataclasses
import importlib
import itertools
import json
import re
import shlex
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jsonargparse
import yaml

from jaxpersona.commands import yaml_config
from jaxpersona.commands.help_text import help_text, main_keys, overview, summary
from jaxpersona.core.errors import InputError, closest, nearest, out_of_memory
from jaxpersona.data.text_files import check_characters, read_utf8

COMMANDS = (
    *("discover", "evaluate", "questionnaire", "analyze", "report", "show"),
    *("sweep", "generate", "chat", "serve", "export", "push", "perplexity"),
)
"""Commands that have a configuration and a ``main``."""
_OTHERS = {
    "lm_eval": "Runs lm-eval's own command line on a persona of a run.",
    "benchmark": "Times this library, most of it beside plain PyTorch.",
}


def main(command: str, argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits: parses its options, then imports and calls its ``main``.

    ``jaxpersona.commands.NAME_config`` holds the options as a dataclass without heavy imports, so that ``--help`` and mistyped
    options answer at once; ``jaxpersona.commands.NAME`` is imported afterwards.

    Exit status: 0 on success; 2 on bad usage or bad input, with one line on standard error.

    Args:
      command: name of the command.
      argv: its options; default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        config = parse(command, _config_class(command), argv)
    except InputError as error:
        _refuse(str(error))
    module, execution = load_modules(f"jaxpersona.commands.{command}", "jaxpersona.commands.execution")
    again = shlex.join(["python", "-m", f"jaxpersona.{command}", *argv])
    interrupted = getattr(module, "INTERRUPTED", "nothing was written; run the same command again")
    execution.execute(module.main, config, interrupted.format(again=again))


def load_modules(*names: str) -> list[Any]:
    """Imports modules that need much memory; exits with status 2 and one line if there is too little."""
    try:
        return [importlib.import_module(name) for name in names]
    except Exception as error:
        message = out_of_memory(error)
        if message is None:
            raise
        _refuse(message)


def list_commands(argv: Sequence[str]) -> NoReturn:
    """Prints the commands with a line on each, and exits; any argument but ``--help`` is refused with status 2."""
    summaries = {command: summary(_config_class(command)) for command in COMMANDS} | _OTHERS
    if not argv or argv[0] in ("-h", "--help"):
        print(overview(summaries), end="")
        sys.exit(0)
    if argv[0] in summaries:
        _refuse(f"give the command with a dot: {shlex.join(['python', '-m', f'jaxpersona.{argv[0]}', *argv[1:]])}")
    _refuse(f"run a command as python -m jaxpersona.NAME; {argv[0]!r} is unknown, {nearest(argv[0], summaries)}")


def parse(command: str, config_class: type, argv: Sequence[str] | None = None) -> Any:
    """Returns the configuration from ``--config FILE.yaml`` and options. Every key is an option; the last value given counts.

    Raises:
      InputError: for an unknown key (with the nearest known one), a wrong type, or an unreadable file.
    """
    parser = _Parser(prog=f"python -m jaxpersona.{command}", exit_on_error=False, parser_mode=yaml_config.MODE)
    parser.main_keys, parser.help_text = main_keys(config_class), help_text(command, config_class)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(config_class)
    given = _with_first_key(sys.argv[1:] if argv is None else argv, getattr(config_class, "first_key", None))
    given = _with_main_keys(given, parser.main_keys)
    try:
        parsed = parser.parse_args(given)
        for field in dataclasses.fields(config_class):
            if dataclasses.is_dataclass(field.type) and not isinstance(parsed[field.name], jsonargparse.Namespace):
                raise InputError(_not_a_value(field.name, str(parsed[field.name]), parser))
        _check_texts(parsed.as_dict())
        values = parser.instantiate(parsed)
    except jsonargparse.ArgumentError as error:
        raise InputError(_yaml_fault(str(error), given) or _explain(str(error), parser)) from None
    except yaml.YAMLError as error:
        raise InputError(f"the YAML does not parse ({error})") from None
    return config_class(**{field.name: values[field.name] for field in dataclasses.fields(config_class)})


class _Parser(jsonargparse.ArgumentParser):
    """Parser with a help text of our own, in whose YAML a group may be given as the value of its main key."""

    main_keys: Mapping[str, str] = types.MappingProxyType({})
    help_text: str = ""

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        """Returns the text that ``--help`` prints."""
        return self.help_text

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:
        """Reads a config file."""
        return self.parse_string(read_utf8(str(path), "config file"), str(path), *args, **kwargs)

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:
        """Reads the contents of a config file, of which ``data: a.csv`` means ``data: {source: a.csv}``."""
        loaded = yaml_config.load(content)
        if isinstance(loaded, dict) and "config" in loaded:
            raise InputError(f"config file {args[0] if args else ''}: it names another by 'config'; give both as --config")
        if isinstance(loaded, dict):
            values = {key: loaded[key] for key in self.main_keys if isinstance(loaded.get(key), str | int | float)}
            groups = {key: {self.main_keys[key].removeprefix(f"{key}."): value} for key, value in values.items()}
            content = json.dumps(loaded | groups) if groups else content
        return super().parse_string(content, *args, **kwargs)


def _check_texts(value: Any, key: str = "") -> None:
    """Refuses options whose text has characters that no model can read, such as undecodable bytes of a terminal."""
    if isinstance(value, str):
        check_characters(value, f"option {key}")
        if "\0" in value:
            raise InputError(f"option {key} is {value!r}; leave out the null character")
        if key == "output_dir" and not value:
            raise InputError("option output_dir is empty; give a folder (. is the current one)")
    for name, inner in value.items() if isinstance(value, dict) else ():
        check_characters(str(name), f"option {key}")
        _check_texts(inner, f"{key}.{name}" if key else str(name))
    for inner in value if isinstance(value, list | tuple) else ():
        _check_texts(inner, key)


def _with_first_key(argv: Sequence[str], key: str | None) -> Sequence[str]:
    """Replaces a value that stands first, without an option, by ``--KEY=VALUE``, if the command has a key for it."""
    plain = key is not None and argv and not argv[0].startswith("-")
    return [f"--{key}={argv[0]}", *argv[1:]] if plain else argv


def _with_main_keys(argv: Sequence[str], main_keys: Mapping[str, str]) -> list[str]:
    """Replaces ``--data SPEC`` by ``--data.source SPEC``, unless the value is a mapping such as ``{source: a.csv}``."""
    result = []
    for argument, following in itertools.pairwise([*argv, ""]):
        name, equals, value = argument.partition("=")
        main_key = main_keys.get(name.removeprefix("--")) if name.startswith("--") else None
        mapping = (value if equals else following).startswith("{")
        result.append(f"--{main_key}{equals}{value}" if main_key and not mapping else argument)
    return result


def _config_class(command: str) -> type:
    return getattr(importlib.import_module(f"jaxpersona.commands.{command}_config"), f"{command.title()}Config")


def _refuse(message: str) -> NoReturn:
    print(" ".join(f"error: {message}".split()), file=sys.stderr)
    sys.exit(2)


def _options(parser: jsonargparse.ArgumentParser) -> list[str]:
    return [
        option.removeprefix("--") for action in parser._actions for option in action.option_strings if option.startswith("--")
    ]


def _near(unknown: str, parser: jsonargparse.ArgumentParser) -> str:
    """Returns a hint for a mistyped option: the one of that name in a group, else the closest; and where all are explained."""
    known = [option for option in _options(parser) if not option.endswith("+") and option != "print_shtab"]
    near = next((option for option in known if option.endswith(f".{unknown}")), None) or closest(unknown, known)
    return f"did you mean {near!r}? See --help" if near else "see --help"


def _is_flag(key: str, parser: jsonargparse.ArgumentParser) -> bool:
    """Returns whether ``true`` is a value of an option."""
    kind = next(getattr(action, "_typehint", None) for action in parser._actions if f"--{key}" in action.option_strings)
    return bool in (kind, *typing.get_args(kind))


def _not_a_value(key: str, value: str, parser: jsonargparse.ArgumentParser) -> str:
    example = next(option for option in _options(parser) if option.startswith(f"{key}."))
    return f"config key {key!r} is {value!r}, but it only groups keys such as {example}"


def _yaml_fault(message: str, argv: Sequence[str]) -> str | None:
    """Returns why the list or mapping given for the option of an error message is no YAML; None if that is not the reason."""
    key = re.search(r'Parser key "(.+?)"', message)
    for argument, following in itertools.pairwise([*argv, ""]):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if key and name == f"--{key[1]}" and value.startswith(("{", "[")):
            try:
                yaml_config.load(value)
            except yaml.YAMLError as error:
                return f"option {key[1]} is {value!r}, which is no YAML ({error})"
    return None


def _explain(message: str, parser: jsonargparse.ArgumentParser) -> str:
    """Returns jsonargparse's message in one line, with the nearest option where one is unknown."""
    group = re.search(r"(?:Group '(.+?)' does not accept option|Option) '(.+?)'", message)
    if group:
        unknown = ".".join(filter(None, group.groups()))
        return f"unknown config key {unknown!r}; {_near(unknown, parser)}"
    if message.startswith("Unexpected config"):
        return "the config file has no keys; give a YAML mapping such as seed: 42"
    whole_group = re.search(r"Parser key \"(.+?)\":\s+Unable to load config '(.*?)'", message)
    if whole_group:
        return _not_a_value(whole_group[1], whole_group[2], parser)
    valueless = re.search(r"argument --([^/:]+).*: expected one argument", message)
    if valueless and _is_flag(valueless[1], parser):
        return f"option {valueless[1]} has no value; write --{valueless[1]} true"
    argument = re.search(r"unrecognized arguments: (-*)([^ =]+)", message)
    if argument:
        hint = f"unknown option {argument[2]!r}; {_near(argument[2], parser)}"
        return hint if argument[1] else f"unexpected argument {argument[2]!r}; options begin with --"
    key, given = re.search(r'Parser key "(.+?)"', message), re.search(r"(?:Given value|Got value): (.*)", message)
    if key and given:
        wanted = " or ".join(re.findall(r"Expected an? (.+?)(?:\. Got|$)", message, re.MULTILINE))
        for words, plain in (("<class '", ""), ("'>", ""), ("typing.Literal", "one of "), ("NoneType", "null")):
            wanted = wanted.replace(words, plain)
        return f"config key {key[1]!r} is {given[1]!r}; expected {wanted}"
    return message
