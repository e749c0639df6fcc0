"""Benchmarks, one file each: ``run`` measures, and ``measure`` is the part that runs in a process of its own (``worker.py``)."""
