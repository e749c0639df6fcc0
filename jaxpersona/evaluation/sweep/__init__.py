"""Compares methods over budgets, numbers of pairs and seeds."""
