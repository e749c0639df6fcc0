"""Keeps commands that run in the test process away from the user's compilation cache."""

import pytest

from jaxpersona.commands import execution


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    """Stops ``execute`` from setting the cache for the whole test process."""
    monkeypatch.setattr(execution, "_use_compilation_cache", lambda: None)
