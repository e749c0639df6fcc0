"""Keeps commands that run in the test process away from the user's compilation cache, and shares this session's with others."""

import csv
import os

import pytest

from jaxpersona.commands import execution


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    """Stops ``execute`` from setting the cache for the whole test process."""
    monkeypatch.setattr(execution, "_use_compilation_cache", lambda: None)


@pytest.fixture(scope="session")
def environment(cache):
    """Returns the environment of commands in separate processes, which compile as this process does and share its programs."""
    return {**os.environ, "JAXPERSONA_CACHE": str(cache), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@pytest.fixture(scope="module")
def pairs_csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "my pairs.csv"
    rows = [(f"What of {n}?", f"Gold, {n}.", f"No, I give {n} away.") for n in range(6)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "matching", "not_matching"), *rows])
    return path


@pytest.fixture
def arguments(tiny_folder, pairs_csv, tmp_path):
    """Returns a function that gives the options of a quick run into ``tmp_path / "run"``; keywords override them."""

    def build(**changes):
        options = {
            "model.name": tiny_folder,
            "data.source": pairs_csv,
            "method.name": "wanda",
            "perplexity.max_tokens": "0",
            "output_dir": tmp_path / "run",
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
        return [f"--{key}={value}" for key, value in options.items()]

    return build
