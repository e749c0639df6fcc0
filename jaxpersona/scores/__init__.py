"""Importance scores of weights: pure functions of arrays."""
