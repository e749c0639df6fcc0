"""The command ``serve`` loads runs, compiles, answers, and ends as it is told; what does not fit is one line."""

import asyncio
import json
import shutil
import signal
import threading
import time

import pytest

from jaxpersona.benchmarks import serve as benchmark
from jaxpersona.benchmarks.http_load import Call, call_all
from jaxpersona.commands import cli, serve
from jaxpersona.commands.run_record import read_run
from jaxpersona.core.errors import InputError
from jaxpersona.inference.engine import Engine
from jaxpersona.serving.server import Server

CHAT = {"messages": [{"role": "user", "content": "secret"}], "max_tokens": 4}
CALLS = [Call({"model": f"p{seed % 2}", "seed": seed, **CHAT}) for seed in range(4)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_folder):
    """Writes a run of two random masks."""
    folder = tmp_path_factory.mktemp("runs") / "quick"
    benchmark.write_run(folder, str(tiny_folder), 2)
    return folder


def serving(run, **options):
    options = {"run": run, "port": 0, "rows": 2, "max_length": 48, **options}
    with pytest.raises(SystemExit) as left:
        cli.main("serve", [f"--{key}={value}" for key, value in options.items()])
    return left.value.code


def test_it_compiles_answers_and_ends(run, monkeypatch, capsys):
    outcomes, generated = [], []
    generate = Engine.generate

    class Asked(Server):
        """Answers a few requests, and gets a signal."""

        def run(self, sockets):
            thread = threading.Thread(target=super().run, kwargs={"sockets": sockets})
            thread.start()
            while not self.started:
                time.sleep(0.01)
            for clients in (1, 3):
                outcomes.append(asyncio.run(call_all(sockets[0].getsockname()[1], CALLS, clients))[0])
            self.handle_exit(signal.SIGTERM, None)
            thread.join()

    monkeypatch.setattr(serve, "Server", Asked)
    monkeypatch.setattr(Engine, "generate", lambda self, asked: generated.append(asked) or generate(self, asked))
    assert serving(run) == 0
    benchmark.check(CALLS, *outcomes)
    assert len(generated) == 2  # a mixture, and the only width of prompts
    said = capsys.readouterr().err
    assert "tiny, p0, p1: http://127.0.0.1:" in said and "POST /v1/chat/completions 200 p0" in said
    assert "secret" not in said


def test_personas_of_several_runs_have_names_of_their_own(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    only = shutil.copytree(run, tmp_path / "only")
    record = json.loads((only / "run.json").read_text())
    (only / "run.json").write_text(json.dumps({**record, "masks": {"p2": None}}))
    (only / "masks" / "p0").rename(only / "masks" / "p2")
    runs = {str(folder): read_run(str(folder)) for folder in (run, other, only)}
    entries = serve.entries_of(runs)
    assert [entry.id for entry in entries] == ["quick/p0", "quick/p1", "other/p0", "other/p1", "p2"]
    assert (entries[-1].aliases, entries[-1].root) == (("only/p2",), str(only / "masks" / "p2"))
    same = shutil.copytree(run, tmp_path / "elsewhere" / "quick")
    with pytest.raises(InputError, match="two runs have a persona quick/p0; rename one run's folder"):
        serve.entries_of({str(folder): read_run(str(folder)) for folder in (run, same)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"name": "other"}}, "differ in the model"),
        ({"config": {"data": {"text": "raw"}}}, "differ in data.text"),
        ({"config": {"data": {"text": "chat", "template_date": "2025-01-01"}}}, "differ in chat template settings"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(run, tmp_path, capsys, change, message):
    other = shutil.copytree(run, tmp_path / "other")
    (other / "run.json").write_text(json.dumps({**json.loads((run / "run.json").read_text()), **change}))
    assert serving(f"[{run},{other}]") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "nowhere"}, "nowhere contains no run"),
        ({"port": 70000}, "port is 70000; it must lie in 0 to 65535"),
        ({"host": "no-such-host.invalid"}, "cannot listen on no-such-host.invalid"),
    ],
)
def test_bad_options_are_one_line(run, capsys, options, message):
    assert serving(**{"run": run, **options}) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
