"""Work done in a thread while the main one waits for devices: compilation and imports of what comes next."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Does ``work`` while the block runs; the block's end waits for it, and raises what it raised.

    >>> with meanwhile(lambda: print("compiled")):
    ...     statistics = 1 + 1
    compiled
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        working = pool.submit(work)
        yield
        working.result()
