"""The generations of one HTTP request, seen from the event loop that waits for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Self

from jaxpersona.core.errors import InputError, out_of_memory
from jaxpersona.inference.engine import QueueFullError
from jaxpersona.inference.requests import Generation, Request
from jaxpersona.serving.engine_loop import EngineLoop, Snapshot
from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.metrics import Followed, Metrics
from jaxpersona.serving.persona_spec import label_of

RETRY_AFTER = 1
"""Seconds after which a client may try again when the queue is full."""
_BEGUN = Snapshot()


class Answers:
    """Generations that run together; use as a context manager, whose end cancels those that still run.

    Attributes:
      generations: in the order of the requests.
    """

    def __init__(self, loop: EngineLoop, metrics: Metrics, requests: Sequence[Request], prompt_field: str):
        """Submits all requests, or none.

        Args:
          loop: runs the engine.
          metrics: counts what is generated.
          requests: of the engine.
          prompt_field: field of the HTTP request that holds the prompts, for errors.

        Raises:
          ApiError: 400 if a request is invalid, 429 if the queue is full.
        """
        self._loop, self._events = loop, asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._latest = [_BEGUN] * len(requests)
        self.generations: list[Generation] = []
        self._followed: list[Followed] = []
        try:
            for index, request in enumerate(requests):
                one = loop.submit(request, lambda now, index=index: self._post(index, now))
                self.generations.append(one)
                self._followed.append(metrics.follow(label_of(dict(request.persona_shares)), len(one.prompt_ids)))
        except QueueFullError as error:
            self.cancel()
            raise ApiError(429, str(error), code="queue_full", headers={"Retry-After": str(RETRY_AFTER)}) from None
        except InputError as error:
            self.cancel()
            raise ApiError(400, str(error), prompt_field, "invalid_value") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends the generations that still run."""
        for generation in self.generations:
            if generation.finish is None:
                self._loop.cancel(generation)

    async def changes(self) -> AsyncIterator[tuple[int, Snapshot]]:
        """Yields (index, snapshot) whenever a generation has changed, until all have ended; skips snapshots when behind.

        Raises:
          ApiError: if a generation fails.
        """
        told = [_BEGUN] * len(self._latest)  # whatever came before anyone listened is news
        while any(snapshot.finish is None for snapshot in told):
            await self._news.wait()
            self._news.clear()
            for index, now in enumerate(list(self._latest)):
                if now is not told[index]:
                    told[index] = now
                    if now.finish == "error":
                        raise failed(now.error)
                    yield index, now

    async def finished(self) -> list[Snapshot]:
        """Returns the last snapshots, once all generations have ended.

        Raises:
          ApiError: if a generation fails.
        """
        async for _ in self.changes():
            pass
        return self._latest

    def _post(self, index: int, now: Snapshot) -> None:
        """Takes a snapshot from the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the event loop has closed
            self._events.call_soon_threadsafe(self._receive, index, now)

    def _receive(self, index: int, now: Snapshot) -> None:
        self._latest[index] = now
        self._followed[index].see(now)
        self._news.set()


def failed(error: Exception | None) -> ApiError:
    """Returns the error of a request whose generation has failed."""
    reason = error and (out_of_memory(error) or (str(error) if isinstance(error, InputError) else None))
    return ApiError(500, reason or "the server failed to answer; its log says why", code="server_error")
