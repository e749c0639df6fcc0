"""Command: serves the personas of runs over HTTP, to clients of OpenAI's API.

python -m jaxpersona.serve --run runs/quickstart
"""

import contextlib
import logging
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_record import persona_bundle, read_run, template_of, text_of
from jaxpersona.commands.serve_config import ServeConfig
from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import several_processes
from jaxpersona.core.stage import Stage
from jaxpersona.inference.engine import Engine
from jaxpersona.masks.bundle import load_masks
from jaxpersona.masks.masks import Masks
from jaxpersona.models.model import Model, load_model
from jaxpersona.serving.cards import pairs_source
from jaxpersona.serving.catalogue import Catalogue, Entry
from jaxpersona.serving.engine_loop import EngineLoop
from jaxpersona.serving.server import Server, bound_socket, is_loopback
from jaxpersona.serving.service import Service, ServiceSettings
from jaxpersona.serving.topics import Topic, topic_name, train_topic

_KEY_VARIABLE = "JAXPERSONA_API_KEY"
_SHARED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the model": lambda run: run["model"]["name"],
    "chat template settings": template_of,
    "data.text": text_of,
}
"""What runs must have in common."""


def main(config: ServeConfig) -> None:
    """Serves until it is told to stop.

    Raises:
      InputError: if a run is invalid, the runs do not fit together, or the address is in use.
    """
    if several_processes():
        raise InputError("serve answers from one process; start it on one host")
    runs = {path: read_run(path) for path in config.runs}
    first = _common(runs)
    with bound_socket(config.host, config.port) as bound, _log_to_stderr():
        service = _service(config, runs, first)
        if config.warm_up:
            _warm_up(service.loop)
        host, port = bound.getsockname()[:2]
        if not is_loopback(bound) and not service.settings.api_key:
            print(f"warning: {host} lets other machines in, and there is no --api_key", file=sys.stderr)
        models = ", ".join(model["id"] for model in service.catalogue.listing())
        started = f"{models}: http://{host}:{port}/v1, playground: http://{host}:{port}/"
        Server(service, lambda: print(started, file=sys.stderr)).run(sockets=[bound])


def _service(config: ServeConfig, runs: dict[str, dict[str, Any]], first: dict[str, Any]) -> Service:
    """Loads model and personas; only the engine keeps the model's parameters."""
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    model = load_model(first["model"]["name"], config.dtype, mesh=mesh, template=template_of(first))
    entries = entries_of(runs)
    personas = {entry.id: load_masks(entry.root, model) for entry in entries}
    only_masks = all(isinstance(persona, Masks) for persona in personas.values())
    weights = config.weights if config.weights != "auto" else "packed" if only_masks else "folded"
    engine = Engine(model, personas, rows=config.rows, max_length=config.max_length, queue=config.queue, weights=weights)
    key = os.environ.get(_KEY_VARIABLE, "") if config.api_key is None else config.api_key
    settings = ServiceSettings(text_of(first) == "chat", config.max_body, key, config.allow_loading, config.log_texts)
    topics = train_topics(runs, model) if config.conditions else {}
    return Service(EngineLoop(engine), Catalogue(base_name(model.name), entries), model.identity, settings, topics)


@contextlib.contextmanager
def _log_to_stderr() -> Generator[None]:
    """Prints a line for each request, and which kernel serves; in a form of its own: libraries may have set up other loggers."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("jaxpersona.serving", "jaxpersona.ops")]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers[:], logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)


def _warm_up(loop: EngineLoop) -> None:
    """Compiles, so that the first requests are as fast as later ones.

    Raises:
      Exception: what ended a request.
    """
    engine = loop.engine
    requests = engine.warm_up_requests()
    with progress_bars() as report:
        stage = Stage(report).part("compile")
        for number, request in enumerate(requests, start=1):
            [generation] = engine.generate([request])
            if generation.error is not None:
                raise generation.error
            stage.progress(number, len(requests))
    loop.compiled = True


def train_topics(runs: Mapping[str, dict[str, Any]], model: Model) -> dict[str, Topic]:
    """Returns a classifier of prompts for the data of each run, by topic; runs of the same data share one.

    Raises:
      InputError: as ``train_topic``, or if different data have topics of one name.
    """
    topics: dict[str, Topic] = {}
    embedding = np.asarray(model.params["embed_tokens"]["embedding"])
    for path, run in runs.items():
        source = pairs_source(pathlib.Path(path).expanduser(), run["data"]["source"])
        name = topic_name(source)
        if name in topics and topics[name].record["source"] != source:
            raise InputError(f"data {source} and {topics[name].record['source']} are both topic {name!r}; rename one file")
        topics[name] = topics.get(name) or train_topic(source, embedding, model.tokenizer)
    return topics


def base_name(model: str) -> str:
    """Returns the name of a model in requests: that of its folder or file, if it is one."""
    path = pathlib.Path(model).expanduser()
    return path.name.removesuffix(".gguf") if path.exists() else model


def entries_of(runs: dict[str, dict[str, Any]]) -> list[Entry]:
    """Returns the personas of all runs.

    A name that several runs have becomes RUN/NAME with the run's folder; any other persona may be called so, too.

    Raises:
      InputError: if two runs with a persona of one name have folders of one name.
    """
    owners = Counter(persona for run in runs.values() for persona in run["masks"])
    entries: dict[str, Entry] = {}
    for path, run in runs.items():
        for persona in run["masks"]:
            full = f"{pathlib.Path(path).expanduser().absolute().name}/{persona}"
            name = full if owners[persona] > 1 else persona
            if name in entries:
                raise InputError(f"two runs have a persona {full}; rename one run's folder")
            entries[name] = Entry(name, str(persona_bundle(path, persona)), () if name == full else (full,))
    return list(entries.values())


def _common(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the first run.

    Raises:
      InputError: if another has a model or chat template settings of its own.
    """
    (first_path, first), *others = runs.items()
    for path, run in others:
        for what, of in _SHARED.items():
            if of(run) != of(first):
                raise InputError(f"runs {first_path} and {path} differ in {what} ({of(first)}, {of(run)}); serve them apart")
    return first
