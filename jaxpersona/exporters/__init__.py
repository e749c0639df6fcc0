"""Writes models and masks in other programs' formats."""
