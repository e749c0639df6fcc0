"""Provides the reference models of tests/golden and their forward pass."""

from models.conftest import forward as forward
from models.conftest import golden as golden
