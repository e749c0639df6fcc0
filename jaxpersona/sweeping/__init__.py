"""Comparing methods over budgets, numbers of calibration pairs and seeds: what to do, doing it, keeping the results."""
