"""Parsing, one-line errors, and exit statuses, shared by all commands."""

import pytest

from jaxpersona.commands import cli
from jaxpersona.commands.chat_config import ChatConfig
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.generate_config import GenerateConfig
from jaxpersona.commands.perplexity_config import PerplexityConfig


@pytest.fixture
def yaml_file(tmp_path):
    def write(contents):
        path = tmp_path / "config.yaml"
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        return str(path)

    return write


def finish(capsys, argv, command="discover"):
    """Exit status, standard output and standard error of a command in this process."""
    with pytest.raises(SystemExit) as left:
        cli.main(command, argv)
    return (left.value.code, *capsys.readouterr())


def assert_one_line(err, *parts):
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for part in parts:
        assert part in err


def test_file_and_options_become_the_configuration(yaml_file):
    text = """
        model: {name: some/where}
        data:
          source: a.csv
          num_samples: 7
          personas: [x, y]
        method: {overrides: {mlp@0: 0.5}}
        seed: 3
    """
    options = ["--data.num_samples", "9", "--method.sparsity", "0.25"]
    config = cli.parse("discover", DiscoverConfig, ["--config", yaml_file(text), *options])
    assert isinstance(config, DiscoverConfig)
    assert (config.model.name, config.data.source, config.data.personas, config.seed) == ("some/where", "a.csv", ("x", "y"), 3)
    assert (config.data.num_samples, config.method.sparsity) == (9, 0.25)
    assert config.method.overrides == {"mlp@0": 0.5}
    assert config.data.max_length == DiscoverConfig().data.max_length


def test_nothing_given_is_the_defaults():
    assert cli.parse("discover", DiscoverConfig, []) == DiscoverConfig()


@pytest.mark.parametrize("prompt", ["1", "null", "true", "a: b", "{a", "- x", "[1, 2]", "", "two\nlines", "#5", "'quoted'"])
def test_prompts_are_taken_as_they_are(prompt):
    assert cli.parse("generate", GenerateConfig, ["--run", "x", "--prompt", prompt]).prompt == prompt


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data: {num_sample: 3}\n", ["unknown config key 'data.num_sample'", "did you mean 'data.num_samples'?"]),
        ("seeed: 3\n", ["unknown config key 'seeed'", "did you mean 'seed'?"]),
        ("x: {y: 1}\n", ["unknown config key 'x.y'; known: check, "]),
        ("seed: many\n", ["config key 'seed' is 'many'; expected int"]),
        ("seed: 1.5\n", ["config key 'seed' is '1.5'; expected int"]),
        ("method: {sparsity: lots}\n", ["config key 'method.sparsity' is 'lots'; expected float or null"]),
        (
            "data: {text: chatt}\n",
            ["config key 'data.text' is 'chatt'; expected one of ['chat', 'prompt_response', 'response', 'raw']"],
        ),
        ("data: {personas: [a]}\n", ["config key 'data.personas' is", "expected tuple with 2 elements"]),
        ("overwrite: maybe\n", ["config key 'overwrite' is 'maybe'; expected bool"]),
        ("method: {overrides: [1]}\n", ["config key 'method.overrides' is '[1]'; expected dict or null"]),
        ("data: {max_length: 0}\n", ["data.max_length is 0; give at least 2"]),
        ("model: smollm2\n", ["config key 'model' is 'smollm2', but it only groups keys such as model.name"]),
        ("seed: 1\ndata:\n", ["config key 'data' is 'None', but it only groups keys such as data.source"]),
        ("data: [1]\n", ["config key 'data' is '[1]', but it only groups keys"]),
        ("model: [\n", ["did not find expected node content", "line 2"]),
        ("a: b: c\n", ["mapping values are not allowed", "line 1"]),
        ("# nothing\n", ["the config file holds no keys; give a YAML mapping"]),
        ("- 1\n- 2\n", ["the config file holds no keys"]),
        (b"\xff\xfe\x00", ["the config file is not UTF-8 text (byte 0)"]),
    ],
)
def test_bad_config_files_give_one_line_and_status_2(capsys, yaml_file, text, parts):
    status, out, err = finish(capsys, ["--config", yaml_file(text)])
    assert (status, out) == (2, "")
    assert_one_line(err, *parts)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--method.sparsty", "0.2"], ["unknown option 'method.sparsty'; did you mean 'method.sparsity'?"]),
        (["--num_samples=3"], ["unknown option 'num_samples'; did you mean 'data.num_samples'?"]),
        (["stray"], ["unknown option 'stray'; known: check, "]),
        (["--method.sparsity", "x"], ["config key 'method.sparsity' is 'x'; expected float or null"]),
        (
            ["--model.dtype", "float16"],
            ["config key 'model.dtype' is 'float16'; expected one of ['auto', 'float32', 'bfloat16']"],
        ),
        (["--model", "smollm2"], ["config key 'model' is 'smollm2', but it only groups keys such as model.name"]),
        (["--protocol", "loose"], ["config key 'protocol' is 'loose'; expected one of ['strict', 'paper', 'official']"]),
        (["--seed"], ["--seed: expected one argument"]),
        (["--seed", "-1"], ["seed is -1; it must lie in 0"]),
        (["--config", "missing.yaml"], ["File does not exist", "missing.yaml'"]),
        (["--config", "/"], ["Path is not a file: '/'"]),
    ],
)
def test_bad_options_give_one_line_and_status_2(capsys, argv, parts):
    status, out, err = finish(capsys, argv)
    assert (status, out) == (2, "")
    assert_one_line(err, *parts)


def test_missing_required_options_are_named(capsys):
    status, _, err = finish(capsys, [], "generate")
    assert status == 2
    assert_one_line(err, "required: run")


@pytest.mark.parametrize("config_class", [DiscoverConfig, GenerateConfig, ChatConfig, PerplexityConfig])
def test_help_explains_every_option(capsys, config_class):
    status, out, err = finish(capsys, ["--help"], config_class.__name__.removesuffix("Config").lower())
    assert (status, err) == (0, "")
    assert config_class.__doc__.splitlines()[0] in " ".join(out.split())
    assert "--config" in out
    if config_class is DiscoverConfig:
        for option in ("--model.name", "--data.num_samples", "--method.sparsity", "--perplexity.text", "--output_dir"):
            assert option in out
        assert "longer texts are cut at this many tokens" in " ".join(out.split())


def test_success_is_status_0_and_main_gets_the_configuration(capsys, monkeypatch):
    got = []
    monkeypatch.setattr("jaxpersona.commands.discover.main", got.append)
    assert finish(capsys, ["--seed", "5"]) == (0, "", "")
    assert [config.seed for config in got] == [5]
