"""The command ``benchmark``: a file a benchmark, and their rows on paper."""

import json
import types

import pytest

from jaxpersona.benchmarks.rows import row
from jaxpersona.commands import benchmark


def finish(capsys, argv):
    with pytest.raises(SystemExit) as left:
        benchmark.main(argv)
    return (left.value.code, *capsys.readouterr())


def test_help_lists_every_benchmark(capsys):
    status, out, _ = finish(capsys, ["--help"])
    assert status == 0
    assert {"discover", "multiple-choice", "generate", "switch", "scaling"} <= set(benchmark.names())
    for name in benchmark.names():
        assert f"  {name} " in out


@pytest.mark.parametrize("name", benchmark.names())
def test_every_benchmark_explains_its_options(capsys, name):
    status, out, _ = finish(capsys, [name, "--help"])
    assert status == 0 and "--output" in out


def test_an_unknown_benchmark_is_named(capsys):
    assert finish(capsys, ["discovr"]) == (2, "", "error: benchmark 'discovr' is unknown; did you mean 'discover'?\n")


def test_rows_are_printed_and_written(capsys, tmp_path, monkeypatch):
    rows = [row("switch/persona", [0.5], [1.0], "s", "CPU", {"jax": "1"})]
    module = types.SimpleNamespace(run=lambda config: rows, Config=benchmark._module("switch").Config)
    monkeypatch.setattr(benchmark, "_module", lambda name: module)
    status, out, _ = finish(capsys, ["switch", f"--output={tmp_path / 'rows.json'}"])
    assert status == 0 and "switch/persona" in out
    assert json.loads((tmp_path / "rows.json").read_text())[0]["ratio"] == 2
