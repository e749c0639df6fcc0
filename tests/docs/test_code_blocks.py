"""Code in the documents works: Python blocks run on a tiny model, and options of commands parse."""

import json
import pathlib
import re
import shlex

import pytest
from optional import optional

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.methods.registry import by_name

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "colab").glob("*.ipynb"))]
RUN = (pytest.param("tutorial.md", marks=optional), pytest.param("howto.md", marks=optional), "formats.md")
"""Pages whose Python blocks run on a tiny model."""
COMMAND = re.compile(r"(?:python -m jaxpersona\.|jaxpersona )(\w+)(.*)")


def blocks(page, language):
    text = page.read_text()
    if page.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands():
    """Yields (page, command, options) of every command line in the documents."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                match = COMMAND.match(line.strip().removeprefix("time "))
                if match and match[1] in cli.COMMANDS:
                    words = shlex.split(match[2], comments=True)
                    end = next((n for n, word in enumerate(words) if word in (">", "|", "&&", ";")), len(words))
                    yield page.name, match[1], words[:end]


COMMANDS = list(commands())


@pytest.mark.parametrize(("page", "command", "options"), COMMANDS, ids=[f"{page}-{n}" for n, (page, *_) in enumerate(COMMANDS)])
def test_options_parse(page, command, options, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = cli.parse(command, cli._config_class(command), options)
    assert isinstance(config, cli._config_class(command))
    if command == "discover":
        settings = dict(vars(config.method))
        assert by_name(settings.pop("name"), **settings)


def test_there_are_commands_and_blocks():
    assert len(COMMANDS) > 30
    assert all(blocks(ROOT / "docs" / name, "python") for name in ("tutorial.md", "howto.md", "formats.md"))


@pytest.mark.parametrize("name", RUN)
def test_python_blocks_run_in_their_order(name, monkeypatch, tmp_path, tiny_model):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxpersona.models.model.load_model", lambda *args, **options: tiny_model)
    monkeypatch.setattr(jp, "load_model", lambda *args, **options: tiny_model, raising=False)
    load = jp.load_pairs
    monkeypatch.setattr(jp, "load_pairs", lambda *args: load(*args).sample(6), raising=False)
    namespace = {}
    for block in blocks(ROOT / "docs" / name, "python"):
        exec(compile(block, name, "exec"), namespace)
