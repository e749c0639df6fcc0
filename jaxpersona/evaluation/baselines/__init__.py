"""Baselines: other ways to give a model a persona, from the same calibration pairs."""
