"""Commands run in this process, without the user's compilation cache."""

import pytest

from jaxpersona.commands import execution


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    """``execute`` would turn it on for the whole test process."""
    monkeypatch.setattr(execution, "_use_compilation_cache", lambda: None)
