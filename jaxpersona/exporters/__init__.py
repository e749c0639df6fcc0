"""Exports models and masks to other programs' formats."""
