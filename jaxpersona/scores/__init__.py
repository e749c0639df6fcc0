"""Importance of weights: pure functions of arrays."""
