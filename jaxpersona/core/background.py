"""Background work in a thread while the main thread waits for devices: compiling the next step, saving the last."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jax


@contextmanager
def in_background(work: Callable[[], object], beside: bool = True) -> Iterator[None]:
    """Runs ``work`` while the block runs; the end of the block waits for it, and raises its error.

    With ``beside=False`` or several processes, ``work`` runs after the block: memory may be short, and collective operations
    must come in one order.

    >>> with in_background(lambda: print("compiled")):
    ...     statistics = 1 + 1
    compiled
    """
    if not beside or jax.process_count() > 1:
        yield
        work()
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        working = pool.submit(work)
        yield
        working.result()
