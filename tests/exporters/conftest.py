"""Provides GGUF files written from the reference models of tests/golden."""

from models.conftest import golden as golden
from models.conftest import golden_gguf as golden_gguf
