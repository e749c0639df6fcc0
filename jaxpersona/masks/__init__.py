"""Masks as values: packed bits with an algebra, bundles on disk, overlap."""
