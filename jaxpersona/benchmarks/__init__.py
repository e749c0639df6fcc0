"""Benchmarks: this package beside a plain PyTorch rendering of the published recipe, and by itself on synthetic models."""
