"""A fixed number of places for things that are costly to bring in, given up least recently used first."""

import collections
from collections.abc import Hashable


class Places:
    """Who sits where. A key that is in use keeps its place; an unused one keeps it until another key needs it."""

    def __init__(self, count: int):
        self._free = list(range(count))[::-1]
        self._place: collections.OrderedDict[Hashable, int] = collections.OrderedDict()  # least recently used first
        self._users: collections.Counter[Hashable] = collections.Counter()

    def acquire(self, key: Hashable) -> tuple[int, bool] | None:
        """A place for one more user of ``key``, and whether the key is new there; None while all places are in use by other
        keys."""
        fresh = key not in self._place
        if fresh:
            if not self._free:
                unused = next((other for other in self._place if not self._users[other]), None)
                if unused is None:
                    return None
                self._free.append(self._place.pop(unused))
            self._place[key] = self._free.pop()
        self._place.move_to_end(key)
        self._users[key] += 1
        return self._place[key], fresh

    def release(self, key: Hashable) -> None:
        """One user of ``key`` less."""
        self._users[key] -= 1

    def forget(self, key: Hashable) -> None:
        """Takes back an ``acquire`` after which the key could not be brought in."""
        self.release(key)
        self._free.append(self._place.pop(key))
