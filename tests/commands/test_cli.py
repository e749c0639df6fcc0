"""Parsing, one-line errors, and exit statuses, shared by all commands."""

import dataclasses
import pathlib
import runpy
import subprocess
import sys
import typing

import pytest

from jaxpersona.commands import cli
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.generate_config import GenerateConfig
from jaxpersona.commands.sweep_config import SweepConfig


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


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("{model: some/where, data: a.csv, method: taylor, perplexity: b.txt, check: 5}", []),
        ("seed: 42", ["--model", "some/where", "--data", "a.csv", "--method=taylor", "--perplexity=b.txt", "--check", "5"]),
        (
            "{model: x, data: y, check: 1}",
            ["--model=some/where", "--data=a.csv", "--method=taylor", "--perplexity=b.txt", "--check=5"],
        ),
        (
            "{model: {name: some/where}, data: a.csv}",
            ["--method.name", "taylor", "--perplexity", "b.txt", "--check={num_samples: 5}"],
        ),
    ],
)
def test_a_group_may_be_given_as_the_value_of_its_main_key(yaml_file, text, argv):
    config = cli.parse("discover", DiscoverConfig, ["--config", yaml_file(text), *argv])
    assert (config.model.name, config.data.source, config.method.name) == ("some/where", "a.csv", "taylor")
    assert (config.perplexity.text, config.check.num_samples) == ("b.txt", 5)
    assert (config.model.dtype, config.data.num_samples, config.seed) == ("auto", 128, 42)


def test_main_keys_and_other_keys_of_a_group_combine(yaml_file):
    text = "{data: {num_samples: 3, max_length: 9}, method: {sparsity: 1e-2}}"
    argv = ["--data.num_samples", "8", "--data", "a.csv", "--method", "sparse", "--data.split=test"]
    config = cli.parse("discover", DiscoverConfig, ["--config", yaml_file(text), *argv])
    data = config.data
    assert (data.source, data.num_samples, data.max_length, data.split) == ("a.csv", 8, 9, "test")
    assert (config.method.name, config.method.sparsity) == ("sparse", 0.01)


def test_the_last_of_a_main_key_and_its_full_name_counts():
    assert cli.parse("discover", DiscoverConfig, ["--data", "a.csv", "--data.source", "b.csv"]).data.source == "b.csv"
    assert cli.parse("discover", DiscoverConfig, ["--data.source", "b.csv", "--data", "a.csv"]).data.source == "a.csv"


def test_a_mapping_on_the_command_line_gives_several_keys_of_a_group():
    config = cli.parse("discover", DiscoverConfig, ["--data", "{source: a.csv, num_samples: 8}", "--data.split", "test"])
    assert (config.data.source, config.data.num_samples, config.data.split) == ("a.csv", 8, "test")


def test_other_values_of_a_file_are_the_same_beside_a_main_key(yaml_file):
    lines = (
        "# a comment",
        "method: {name: sparse, damping: 1e-6, eps: .5, overrides: {mlp@0: .5}, select: 'null', budget_text: '1e-6'}",
        "check: {question: 'yes: no? ä #'}",
        "output_dir: 2020-01-01",
        "overwrite: true",
    )
    plain = cli.parse("discover", DiscoverConfig, ["--config", yaml_file("\n".join(lines))])
    config = cli.parse("discover", DiscoverConfig, ["--config", yaml_file("\n".join([*lines, "model: x"]))])
    assert (plain.method.damping, plain.method.budget_text, plain.output_dir) == (1e-6, "1e-6", "2020-01-01")
    assert dataclasses.replace(config, model=plain.model) == plain
    assert config.model.name == "x"


def test_main_keys_work_in_every_command(yaml_file):
    evaluate = cli.parse("evaluate", EvaluateConfig, ["--run", "r", "--data", "a.csv", "--perplexity", "b.txt"])
    assert (evaluate.data.source, evaluate.perplexity.text, evaluate.model) == ("a.csv", "b.txt", None)
    masks = cli.parse("evaluate", EvaluateConfig, ["--masks=m", "--model=x", "--output_dir=o", "--data=a.csv"])
    assert (masks.model, masks.data.source) == ("x", "a.csv")  # its model is no group
    sweep = cli.parse("sweep", SweepConfig, ["--config", yaml_file("{data: a.csv, model: x}"), "--held_out", "b.csv"])
    assert (sweep.data.source, sweep.held_out.source, sweep.model.name) == ("a.csv", "b.csv", "x")


@pytest.mark.parametrize("prompt", ["1", "null", "true", "a: b", "{a", "- x", "[1, 2]", "two\nlines", "#5", "'quoted'"])
def test_prompts_are_taken_as_they_are(prompt):
    assert cli.parse("generate", GenerateConfig, ["--run", "x", "--prompt", prompt]).prompt == prompt


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data: {num_sample: 3}\n", ["unknown config key 'data.num_sample'", "did you mean 'data.num_samples'?"]),
        ("seeed: 3\n", ["unknown config key 'seeed'", "did you mean 'seed'?"]),
        ("x: {y: 1}\n", ["unknown config key 'x.y'; see --help\n"]),
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
        ("mesh: 2\n", ["config key 'mesh' is '2', but it only groups keys such as mesh.data"]),
        ("check: yes please\n", ["config key 'check.num_samples' is 'yes please'; expected int"]),
        ("model: a\nseeed: 1\n", ["unknown config key 'seeed'; did you mean 'seed'?"]),
        ("model: a\nsplit: ? [\n", ["YAML does not parse", "line 2"]),
        ("model: a\nseed: !!set {a, b}\n", ["error: "]),
        ("seed: 1\ndata:\n", ["config key 'data' is 'None', but it only groups keys such as data.source"]),
        ("data: [1]\n", ["config key 'data' is '[1]', but it only groups keys"]),
        ("model: [\n", ["did not find expected node content", "line 2"]),
        ("a: b: c\n", ["mapping values are not allowed", "line 1"]),
        ("# nothing\n", ["the config file has no keys; give a YAML mapping"]),
        ("- 1\n- 2\n", ["the config file has no keys"]),
        (b"\xff\xfe\x00", ["config file ", "config.yaml: not UTF-8 text (byte 0)"]),
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
        (["--x=1"], ["unknown option 'x'; see --help\n"]),
        (["--layer=1"], ["unknown option 'layer'; did you mean 'method.layer'? See --help\n"]),
        (["--print_shtabb"], ["unknown option 'print_shtabb'; "]),
        (["--dry_run"], ["option dry_run has no value; write --dry_run true\n"]),
        (["--overwrite", "--seed", "3"], ["option overwrite has no value; write --overwrite true\n"]),
        (["--check.controls"], ["option check.controls has no value; write --check.controls true\n"]),
        (["--method.update", "--dry_run", "true"], ["option method.update has no value; write --method.update true\n"]),
        (["stray"], ["unexpected argument 'stray'; options begin with --"]),
        (["--method.sparsity", "x"], ["config key 'method.sparsity' is 'x'; expected float or null"]),
        (
            ["--model.dtype", "float16"],
            ["config key 'model.dtype' is 'float16'; expected one of ['auto', 'float32', 'bfloat16']"],
        ),
        (["--mesh", "2"], ["config key 'mesh' is '2', but it only groups keys such as mesh.data"]),
        (["--modell", "x"], ["unknown option 'modell'; did you mean 'model'?"]),
        (["--model"], ["--model.name: expected one argument"]),
        (["--check", "some"], ["config key 'check.num_samples' is 'some'; expected int"]),
        (["--data", "{source: a.csv, num_sample: 3}"], ["num_sample"]),
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


def test_success_is_status_0_and_main_gets_the_configuration(capsys, monkeypatch):
    got = []
    monkeypatch.setattr("jaxpersona.commands.discover.main", got.append)
    assert finish(capsys, ["--seed", "5"]) == (0, "", "")
    assert [config.seed for config in got] == [5]


def left(capsys, argv):
    """Exit status, standard output and standard error of ``python -m jaxpersona`` in this process."""
    with pytest.raises(SystemExit) as exit_:
        cli.list_commands(argv)
    return (exit_.value.code, *capsys.readouterr())


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_the_package_lists_its_commands_with_a_line_each(capsys, argv):
    status, out, err = left(capsys, argv)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    for command in (*cli.COMMANDS, "benchmark"):
        assert [line for line in lines if line.split()[:1] == [command] and line.endswith(".")]


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["discover"], ["python -m jaxpersona.discover\n"]),
        (["generate", "--run", "a b"], ["python -m jaxpersona.generate --run 'a b'\n"]),
        (["discovr"], ["python -m jaxpersona.NAME", "'discovr' is unknown, did you mean 'discover'?"]),
        (["--run", "x"], ["python -m jaxpersona.NAME", "'--run' is unknown, known: analyze, benchmark, "]),
        ([""], ["python -m jaxpersona.NAME"]),
    ],
)
def test_the_package_says_how_commands_are_run(capsys, argv, parts):
    status, out, err = left(capsys, argv)
    assert (status, out) == (2, "")
    assert_one_line(err, *parts)


_LIGHT = """
import contextlib, sys
from jaxpersona.commands import cli
for command in cli.COMMANDS:
    for argv in (["--help"], ["--no_such_option", "1"]):
        with contextlib.suppress(SystemExit):
            cli.main(command, argv)
with contextlib.suppress(SystemExit):
    cli.list_commands([])
heavy = {"jax", "numpy", "transformers", "flax", "orbax", "tokenizers"} & {name.partition(".")[0] for name in sys.modules}
assert not heavy, heavy
"""


def test_help_and_mistyped_options_import_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", _LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(cli.COMMANDS) + 1


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "jaxpersona"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m jaxpersona.COMMAND [options]\n")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_entry_points_hand_over_to_their_command(capsys, monkeypatch, command):
    monkeypatch.setattr(sys, "argv", [f"jaxpersona/{command}.py", "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(pathlib.Path(cli.__file__).parents[1] / f"{command}.py"), run_name="__main__")
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m jaxpersona.{command} [")


@pytest.mark.parametrize("error", ["MemoryError", "ImportError('lib.so: failed to map segment from shared object')"])
def test_too_little_memory_for_imports_is_one_line(capsys, monkeypatch, tmp_path, error):
    (tmp_path / "module_of_much_memory.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.load_modules("module_of_much_memory")
    assert left.value.code == 2
    assert_one_line(capsys.readouterr().err, "out of memory (")


def test_a_broken_import_keeps_its_traceback():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        cli.load_modules("no_such_module")


def test_a_config_file_may_begin_with_a_byte_order_mark(yaml_file):
    path = yaml_file(b"\xef\xbb\xbfseed: 7\r\ncheck: {question: 'caf\xc3\xa9'}\r\n")
    config = cli.parse("discover", DiscoverConfig, ["--config", path])
    assert (config.seed, config.check.question) == (7, "café")


@pytest.mark.parametrize(
    ("command", "argv", "parts"),
    [
        ("generate", ["--run", "x", "--prompt", "caf\udce9"], ["option prompt: contains an unpaired surrogate"]),
        ("generate", ["--run", "x", "--system=\ud83d"], ["option system: contains an unpaired surrogate"]),
        ("generate", ["--run", "x", "--stop", "[caf\udce9]"], ["option stop is", "undecodable byte"]),
        ("chat", ["--run", "x", "--system", "\udce9"], ["option system: contains an unpaired surrogate"]),
        ("evaluate", ["--run", "x", "--prompts", "[a, caf\udce9]"], ["option prompts is"]),
        ("discover", ["--check.question", "caf\udce9"], ["option check.question: contains an unpaired surrogate"]),
        ("discover", ["--data", "{source: a.csv, source: b.csv}"], ["option data is", "key 'source' is given twice; keep one"]),
        ("discover", ["--method.overrides", "{mlp: 0.1, mlp: 0.2}"], ["option method.overrides is", "key 'mlp' is given twice"]),
    ],
)
def test_texts_that_no_model_can_read_are_refused_by_option(capsys, command, argv, parts):
    status, out, err = finish(capsys, argv, command)
    assert (status, out) == (2, "")
    assert_one_line(err, *parts)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("seed: 1\nseed: 2\n", "line 2: key 'seed' is given twice; keep one"),
        ('{"data": {"source": "a.csv",\n"source": "b.csv"}}', "line 2: key 'source' is given twice; keep one"),
        ("model: x\nmethod: {overrides: {mlp: 0.1, mlp: 0.1}}\n", "line 2: key 'mlp' is given twice; keep one"),
        ("data: &x [*x]\n", "an anchor contains its own alias"),
        ('output_dir: "a\\0b"\n', "option output_dir is 'a\\x00b'; leave out the null character"),
        ('output_dir: ""\n', "option output_dir is empty; give a folder"),
        ("config: other.yaml\n", "it names another by 'config'; give both as --config"),
    ],
)
def test_configs_that_say_two_things_are_refused(capsys, yaml_file, text, part):
    status, out, err = finish(capsys, ["--config", yaml_file(text)])
    assert (status, out) == (2, "")
    assert_one_line(err, part)


def texts_or_nothing(config_class, group=""):
    """Yields the keys of options typed ``str | None``, alone or among other types."""
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(field.type):
            yield from texts_or_nothing(field.type, f"{field.name}.")
        elif {str, type(None)} <= set(typing.get_args(field.type)):
            yield f"{group}{field.name}"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_null_means_nothing_wherever_nothing_is_allowed(command):
    config_class = cli._config_class(command)
    keys = list(texts_or_nothing(config_class))
    given = {
        "generate": ["--run=x", "--prompt=p"],
        "chat": ["--run=x"],
        "serve": ["--run=x"],
        "questionnaire": ["--run=x"],
        "evaluate": ["--run=x"],
        "analyze": ["--run=x"],
        "export": ["--run=x", "--persona=none"],
    }
    argv = [*given.get(command, []), *(["--output_dir=o"] if command == "export" else [])]
    for key in set(keys) - {"run"}:
        value = cli.parse(command, config_class, [*argv, f"--{key}", "null"])
        for name in key.split("."):
            value = getattr(value, name)
        assert value is None, key
    assert ("check.question" in keys) == (command == "discover")
    assert ("system" in keys) == (command in ("generate", "chat"))


@pytest.mark.parametrize("text", ["1", "true", "a: b", "{a", "- x", "[1, 2]", "two\nlines", "#5", "'quoted'", "{a: 1, a: 2}"])
def test_optional_texts_are_taken_as_they_are(text):
    assert cli.parse("generate", GenerateConfig, ["--run", "x", "--prompt", "p", "--system", text]).system == text
    assert cli.parse("discover", DiscoverConfig, ["--check.question", text]).check.question == text
