"""Masks as values: packed bits with set operations, bundles on disk, and overlap."""
