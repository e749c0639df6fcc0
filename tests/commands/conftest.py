"""Keeps commands that run in the test process away from the user's compilation cache, and shares this session's with others."""

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
