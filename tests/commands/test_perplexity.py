"""The command ``perplexity`` prints NumPy's number, or refuses with one line."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxpersona.commands import cli

TEXT = "The river rises in the hills, and flows past seven mills to the sea. " * 5


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_command_prints_the_perplexity_of_whole_windows(environment, text_file, tiny_folder, tiny_model, tmp_path):
    command = [sys.executable, "-m", "jaxpersona.perplexity", f"--model.name={tiny_folder}", "--text=text.txt"]
    command += ["--window=64", "--max_tokens=200", "--model.dtype=float32"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    body = tiny_model.tokenizer.encode(TEXT, add_special_tokens=False)
    windows = np.array([[0, *body[start : start + 63]] for start in (0, 63, 126)])  # 200 tokens hold three windows of 64
    logits = np.asarray(jax.jit(tiny_model.apply)({"params": tiny_model.params}, windows), np.float64)[:, :-1]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_probabilities, windows[:, 1:, None], axis=-1)
    expected = f"{np.exp(-picked.mean()):.2f}"
    assert done.stdout == f"{tiny_folder} (local folder): perplexity {expected} on 192 tokens of text.txt\n"
    assert "perplexity" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "missing.txt"}, "text file missing.txt does not exist"),
        ({"text": "builtin:other"}, "text file builtin:other does not exist; give a file, builtin:neutral or builtin:varied"),
        ({"model.name": "nowhere"}, "model 'nowhere' is not an alias, folder, .gguf file or hub name"),
        ({"window": 1}, "window is 1; give at least 2"),
        ({"max_tokens": 0}, "max_tokens is 0; give at least 2"),
        ({"max_tokens": 100}, "perplexity needs at least"),
        ({"window": 500}, "perplexity needs at least"),
        ({"window": 513}, "window is 513, the model has 512 positions; lower it"),
        ({"window": 100000, "max_tokens": 200000}, "window is 100000, the model has 512 positions; lower it"),
        ({"window": "wide"}, "config key 'window' is 'wide'; expected int"),
        ({"windw": 3}, "unknown option 'windw'; did you mean 'window'?"),
    ],
    ids=str,
)
def test_bad_input_ends_in_one_line_and_status_2(capsys, monkeypatch, text_file, tiny_folder, options, message):
    options = {"model.name": tiny_folder, "text": text_file, **options}
    with pytest.raises(SystemExit) as left:
        cli.main("perplexity", [f"--{key}={value}" for key, value in options.items()])
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if line.startswith("error: ")] == err.splitlines()[-1:]
    assert message in err


def test_text_that_is_not_utf8_is_refused(capsys, monkeypatch, tmp_path, tiny_folder):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 600)
    argv = [f"--model.name={tiny_folder}", f"--text={tmp_path / 'latin.txt'}"]
    with pytest.raises(SystemExit) as left:
        cli.main("perplexity", argv)
    assert left.value.code == 2
    assert "latin.txt: not UTF-8 text (byte 3)" in capsys.readouterr().err
