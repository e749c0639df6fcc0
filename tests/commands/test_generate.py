"""The command ``generate`` prints the library's answers, or refuses with one line."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import write_model

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.commands.discover import main as discover
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.generate import read_prompts

PROMPT = "How would you: spend it?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with a separate model, whose weights a test may change, and a run for it."""
    folder = tmp_path_factory.mktemp("generate")
    write_model(folder / "model")
    options = {"model.name": folder / "model", "method.name": "magnitude", "method.sparsity": 0.5, "output_dir": folder / "run"}
    options |= {"perplexity.max_tokens": 0, "data.num_samples": 3}
    discover(cli.parse("discover", DiscoverConfig, [f"--{key}={value}" for key, value in options.items()]))
    return folder


@pytest.fixture
def finish(capsys, monkeypatch, folder):
    """Returns a function that runs the command in this process and returns exit status, output and errors."""

    def run(**options):
        options = {"run": folder / "run", "persona": "seek", "prompt": PROMPT, "max_new_tokens": 8, **options}
        with pytest.raises(SystemExit) as left:
            cli.main("generate", [f"--{key}={value}" for key, value in options.items()])
        return (left.value.code, *capsys.readouterr())

    return run


def test_command_prints_what_the_library_generates(folder, environment):
    command = [sys.executable, "-m", "jaxpersona.generate", "--run=run", "--persona=seek", "--prompt", PROMPT]
    command += [
        "--max_new_tokens=8",
        "--gamma=0.25",
        "--temperature=1",
        "--top_k=50",
        "--top_p=0.9",
        "--seed=5",
        "--system=Be brief.",
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    model = jp.load_model(str(folder / "model"))
    masks = jp.load_masks(folder / "run" / "masks" / "seek", model)
    options = {"gamma": 0.25, "max_new_tokens": 8, "system": "Be brief.", "seed": 5}
    expected = jp.generate(model, [PROMPT], masks, sampling=jp.Sampling(1.0, 50, 0.9), **options)
    assert done.stdout.decode() == expected[0] + "\n"


def test_persona_none_is_the_base_model(finish, folder):
    status, plain, _ = finish(persona="none")
    assert status == 0
    assert plain == jp.generate(jp.load_model(str(folder / "model")), [PROMPT], max_new_tokens=8)[0] + "\n"
    assert finish(persona="seek")[1] != plain


def test_several_personas_answer_a_file_of_prompts_side_by_side(finish, folder, tmp_path):
    prompts = [PROMPT, "And you?"]
    (tmp_path / "prompts.txt").write_text("\n\n".join(prompts))
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    model = jp.load_model(str(folder / "model"))
    seek, reject = (jp.load_masks(folder / "run" / "masks" / name, model) for name in ("seek", "reject"))
    mixed = jp.mix({reject: 0.3, seek: 0.7})
    options = {"max_new_tokens": 8}
    columns = {
        "none": jp.generate(model, prompts, **options),
        "seek": jp.generate(model, prompts, seek, gamma=0.5, **options),
        "0.7*seek+0.3*reject": jp.generate(model, prompts, mixed, gamma=0.5, **options),
    }
    for kind in ("txt", "jsonl"):
        given = {
            "prompts": tmp_path / f"prompts.{kind}",
            "persona": f"[{','.join(columns)}]",
            "output": tmp_path / "new" / "out.jsonl",
        }
        status, out, err = finish(prompt="", gamma=0.5, **given)
        assert (status, err) == (0, "")
        assert all(prompt in out for prompt in prompts)
        rows = [json.loads(line) for line in (tmp_path / "new" / "out.jsonl").read_text().splitlines()]
        assert [(row["prompt"], row["persona"]) for row in rows] == [(prompt, name) for prompt in prompts for name in columns]
        assert [row["text"] for row in rows] == [columns[name][i] for i in range(2) for name in columns]
        assert [row["gamma"] for row in rows[:3]] == [0, 0.5, 0.5]
        assert {row["finish"] for row in rows} <= {"length", "eos"}


@pytest.mark.parametrize("contents", ["", "{}", '{"prompt": 3}', "[", b"\xff"])
def test_a_file_without_prompts_is_refused(tmp_path, contents):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(jp.InputError, match=r"^prompts .*prompts.jsonl: "):
        read_prompts(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "nowhere"}, "nowhere contains no run (run.json is missing); give the output_dir of a discover run"),
        ({"persona": "sek"}, "persona 'sek' is unknown; did you mean 'seek'?"),
        ({"persona": "../seek"}, "persona '../seek' is unknown"),
        ({"prompt": ""}, "the prompt is empty; give --prompt TEXT or --prompts FILE"),
        ({"gamma": 1}, "gamma is 1.0; it must lie in [0, 1)"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 512}, "but the prompt has"),
        ({"temperature": -1}, "temperature is -1.0"),
        ({"temperature": ".nan"}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0}, "top_p is 0.0"),
        ({"min_p": 2}, "min_p is 2.0"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0.0"),
        ({"stop": "['']"}, "give a list of strings that are not empty"),
        ({"seed": -1}, "seed is -1"),
        ({"persona": "x*seek+reject"}, "'x' is not a number; write 0.7*seek+0.3*reject"),
        ({"persona": "0.5*seek+0.5*seek"}, "persona '0.5*seek+0.5*seek' has 'seek' twice; give each persona one share"),
        ({"persona": "0*seek+0*reject"}, "all shares of reject, seek are 0"),
        ({"persona": "[seek,none,seek]"}, "persona 'seek' is given twice; its answers would be the same"),
        ({"persona": "[seek,1.0*seek]"}, "persona '1.0*seek' is given twice"),
        ({"persona": "[none,' none']"}, "persona 'none' is given twice"),
        ({"top_k": 3000000000}, "top_k is 3000000000; it must be a whole number below 2**31"),
        ({"temperature": 1e-40}, "temperature is 1e-40; it must be 0 (greedy), or 1e-06 to 1000000"),
        ({"output": "/"}, "output / is a folder; give a file"),
        ({"output": "/dev/null/a.jsonl"}, "output /dev/null: /dev/null is a file; choose a folder"),
        ({"persona": "2*seek"}, "the share of persona 'seek' is 2.0; it must lie in [0, 1]"),
        ({"prompt": "", "prompts": "nowhere.txt"}, "prompts nowhere.txt does not exist"),
        ({"dtype": "int8"}, "config key 'dtype' is 'int8'; expected one of"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_status_2(finish, options, message):
    status, out, err = finish(**options)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder / "run", tmp_path / "run")


def test_masks_of_other_weights_are_refused(finish, folder, copied):
    write_model(folder / "model", seed=1)
    try:
        status, out, err = finish(run=copied)
    finally:
        write_model(folder / "model")
    assert (status, out) == (2, "")
    assert "with other weights than" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / "run.json").write_text("{"), "run.json: damaged"),
        (lambda run: (run / "run.json").write_text("[]"), "schema version None"),
        (lambda run: shutil.rmtree(run / "masks"), "is not a mask bundle (metadata.json is missing)"),
        (lambda run: shutil.rmtree(run / "masks" / "seek" / "words"), "is missing; copy the whole folder"),
    ],
)
def test_damaged_runs_are_refused(finish, copied, harm, message):
    harm(copied)
    status, out, err = finish(run=copied)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_model_that_is_gone_is_named(finish, folder):
    (folder / "model").rename(folder / "moved")
    try:
        status, _, err = finish()
    finally:
        (folder / "moved").rename(folder / "model")
    assert status == 2
    assert f"{folder / 'model'}" in err
    assert err.count("\n") == 1


def test_prompts_are_read_as_pairs_are(tmp_path):
    prompts = ["one\u2028two", "three\x0cfour", "five\x85"]
    (tmp_path / "a.txt").write_bytes(("\ufeff" + "\r\n\r\n".join(prompts)).encode())
    assert read_prompts(str(tmp_path / "a.txt")) == prompts
    rows = "\n".join(f'{{"prompt": "{prompt}"}}' for prompt in ["one\u2028two", "three\\u000cfour", "five\x85"])
    (tmp_path / "a.JSONL").write_text("\ufeff" + rows, encoding="utf-8")
    assert read_prompts(str(tmp_path / "a.JSONL")) == prompts


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a.jsonl", '{"prompt": "x"}\n\n{"prompt": " "}', "a.jsonl: line 3: no text under the key prompt"),
        ("a.jsonl", '{"prompt": "x", "prompt": "y"}', "a.jsonl: line 1: key 'prompt' is given twice; keep one"),
        ("a.jsonl", '{"prompt": "\\ud800"}', "a.jsonl: line 1: contains an unpaired surrogate"),
        ("a.jsonl", '["x"]', "a.jsonl: line 1: no text under the key prompt"),
        ("a.txt", " \n\n", "a.txt: no prompts there"),
        ("a.CSV", "prompt\nx", "a.CSV: a .csv file has no prompt a line; give a text file or a .jsonl file"),
        ("a.json", '["x"]', "a.json: a .json file has no prompt a line"),
    ],
)
def test_bad_prompts_are_named_by_their_line(tmp_path, name, contents, message):
    (tmp_path / name).write_text(contents)
    with pytest.raises(jp.InputError) as caught:
        read_prompts(str(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chat", [None, "true", "false"])
def test_the_run_says_whether_prompts_are_put_into_the_chat_template(finish, folder, tmp_path, chat):
    shutil.copytree(folder / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["config"]["data"]["text"] = "prompt_response"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    given = {} if chat is None else {"chat": chat}
    status, out, err = finish(run=tmp_path / "run", persona="none", **given)
    assert status == 0, err
    model = jp.load_model(str(folder / "model"))
    assert out == jp.generate(model, [PROMPT], max_new_tokens=8, chat=chat == "true")[0] + "\n"


def test_a_system_text_without_the_chat_template_is_refused(finish):
    status, out, err = finish(chat="false", system="Be brief.")
    assert (status, out) == (2, "")
    assert "system is given without the chat template" in err and err.count("\n") == 1
