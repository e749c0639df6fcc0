"""Work done in a thread while the main one waits for devices: compiling what comes next, saving what is there."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jax


@contextmanager
def meanwhile(work: Callable[[], object], beside: bool = True) -> Iterator[None]:
    """Does ``work`` while the block runs; the block's end waits for it, and raises what it raised.

    After the block it is done where it is not to go ``beside`` it, because memory is short, say, and with several processes: what
    both send to others must come in one order.

    >>> with meanwhile(lambda: print("compiled")):
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
