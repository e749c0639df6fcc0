"""Puts load on a server: many clients at once beside one request after another, some of which cancel or ask for nonsense.

The server is the command itself, a process of its own, on a run of random masks.
"""

import asyncio
import contextlib
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.http_load import Call, Outcome, call_all
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.sides import random_masks
from jaxpersona.core.errors import InputError
from jaxpersona.core.memory import resident_memory_bytes
from jaxpersona.masks.bundle import save_masks
from jaxpersona.models.model import load_model
from jaxpersona.reporting.record import SCHEMA_VERSION

_KEPT = 0.95
_LENGTH = 256
_CANCEL_EVERY, _SPOIL_EVERY = 10, 13
_SECONDS_TO_END = 600  # on a busy machine even an idle process takes its time
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/v1")
_NONSENSE = ({"model": "nobody"}, {"temperature": -1}, {"max_tokens": 10**6}, {"messages": []})


def run(config: BenchmarkConfig) -> Measurements:
    """Measures tokens per second, time to the first token, and how the server's memory grows over ``repeats`` rounds.

    Raises:
      InputError: if a request is lost, gets another answer than alone, or nonsense is answered.
    """
    measured = Measurements("serve")
    for count in config.personas:
        calls = calls_of(config.requests, count, config.max_new_tokens)
        with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as folder:
            write_run(pathlib.Path(folder) / "run", config.model, count)
            with _server(pathlib.Path(folder), config) as (process, port):
                _measure(measured, config, calls, process, port)
    return measured


def calls_of(requests: int, personas: int, longest: int) -> list[Call]:
    """Returns requests of personas p0, p1, ... with answers of 1 to ``longest`` tokens and prompts of several lengths.

    One in ten cancels its stream after a token; one in thirteen asks for nonsense.
    """
    calls = []
    for number in range(requests):
        persona, about = f"p{number % personas}", " and ".join(["a bonus"] * (1 + number % 7))
        body = {
            "model": persona,
            "messages": [{"role": "user", "content": f"Number {number}: how would you spend {about}?"}],
            "max_tokens": 1 + number * 7 % longest,
            "temperature": number % 3 / 2,
            "seed": number,
        }
        spoiled = number % _SPOIL_EVERY == _SPOIL_EVERY - 1
        nonsense = _NONSENSE[number % len(_NONSENSE)] if spoiled else {}
        calls.append(Call({**body, **nonsense}, spoiled, not spoiled and number % _CANCEL_EVERY == _CANCEL_EVERY - 1))
    return calls


def check(calls: Sequence[Call], alone: Sequence[Outcome], together: Sequence[Outcome]) -> None:
    """Checks every answer.

    Raises:
      InputError: naming the first request that is lost, has another answer than alone, or is nonsense and was answered.
    """
    for number, (call, expected, found) in enumerate(zip(calls, alone, together, strict=True)):
        if call.spoiled:
            right = 400 <= found.status < 500
        elif call.cancelled:
            right = found.status == 200 and expected.text.startswith(found.text)
        else:
            right = found.status == 200 and found.complete and found.text == expected.text
        if not right:
            raise InputError(f"request {number} ({call.body}) got {found}, but {expected} alone")


def write_run(folder: pathlib.Path, name: str, personas: int) -> None:
    """Writes a run of random masks p0, p1, ... that keep 95 % of the weights."""
    model = load_model(name)
    names = [f"p{number}" for number in range(personas)]
    for seed, persona in enumerate(names):
        save_masks(folder / "masks" / persona, random_masks(model, _KEPT, seed), {"fingerprint": model.fingerprint})
    text = "chat" if model.tokenizer.chat_template else "prompt_response"
    config = {"data": {"text": text}}
    record = {"schema_version": SCHEMA_VERSION, "model": {"name": name}, "masks": dict.fromkeys(names), "config": config}
    (folder / "run.json").write_text(json.dumps(record))


def _measure(measured: Measurements, config: BenchmarkConfig, calls: list[Call], process: subprocess.Popen, port: int) -> None:
    whole = [Call(call.body, call.spoiled, False) for call in calls]
    alone, seconds = asyncio.run(call_all(port, whole, 1))
    one_by_one = sum(outcome.tokens for outcome in alone) / seconds
    rates, first_tokens, memory = [], [], []
    for _ in range(config.repeats):
        together, seconds = asyncio.run(call_all(port, calls, config.clients))
        check(calls, alone, together)
        rates.append(sum(outcome.tokens for outcome in together) / seconds)
        first_tokens += [outcome.first_token for outcome in together if outcome.first_token is not None]
        memory.append(resident_memory_bytes(process.pid))
    name = f"{config.requests} requests of {len({call.body['model'] for call in calls if not call.spoiled})} personas"
    measured.add(f"{name}: {config.clients} at once beside one after another", "tokens/s", rates, [one_by_one])
    measured.add(f"{name}: time to first token, median", "s", first_tokens, [o.first_token for o in alone if o.first_token])
    measured.add(f"{name}: time to first token, 95th percentile", "s", [statistics.quantiles(first_tokens, n=20)[-1]])
    for rounds in sorted({1, config.repeats}):
        resident = memory[rounds - 1]
        if resident is not None:
            measured.add(f"memory after {config.requests * rounds} requests", "MB", [resident / 1e6])


def _port(process: subprocess.Popen, log: pathlib.Path) -> int:
    """Waits until the server has told its address, which it does once it has compiled."""
    while process.poll() is None:
        told = _ADDRESS.search(log.read_text())
        if told:
            return int(told[1])
        time.sleep(0.2)
    raise InputError(f"the server did not start: {log.read_text()[-300:]}")


@contextlib.contextmanager
def _server(folder: pathlib.Path, config: BenchmarkConfig) -> Iterator[tuple[subprocess.Popen, int]]:
    """Starts the server, and yields its process and port once it has compiled; ends it as an operator would.

    Raises:
      InputError: if it does not start, or does not end well.
    """
    options = {"run": folder / "run", "port": 0, "rows": config.rows, "max_length": _LENGTH, "dtype": config.dtype}
    command = [sys.executable, "-m", "jaxpersona.serve", *(f"--{name}={value}" for name, value in options.items())]
    log = folder / "log.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors)
    try:
        yield process, _port(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(_SECONDS_TO_END)
    if status:
        raise InputError(f"the server ended with status {status}: {log.read_text()[-300:]}")
