"""Continuous batching: requests of different personas share a batch, join it when a row is free, and leave it when they end.

    engine = Engine(model, {"seek": seek, "reject": reject})
    asked = [engine.submit(Request("How would you spend a bonus?", persona=name)) for name in ("seek", "reject", None)]
    engine.run()
    print(*(generation.text for generation in asked))

Every step runs the same compiled function over the same number of rows, whatever they hold, so a request's tokens do not depend
on the others'. docs/engine.md describes the design and what was measured.
"""

import collections
import functools
from collections.abc import Iterable, Mapping
from typing import Literal

import jax
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import to_host
from jaxpersona.inference.persona_weights import Folded, Packed, Seat, check_shares
from jaxpersona.inference.requests import Generation, OnText, Request
from jaxpersona.inference.steps import Rows, State, decode, empty_state, insert, prefill
from jaxpersona.masks.masks import Masks
from jaxpersona.models.cached_forward import in_form, pick_form
from jaxpersona.models.decoder import compute_dtype
from jaxpersona.models.model import Model
from jaxpersona.models.persona import Persona
from jaxpersona.models.sampling import Sampling, settings_of

_NARROWEST = 64
_COPIES = 2


class QueueFullError(InputError):
    """The engine has as many requests waiting as it may; try again when some have ended."""


class Engine:
    """Serves many personas of one model from one batch. One thread drives it; ``submit`` and ``cancel`` may come from others."""

    def __init__(
        self,
        model: Model,
        personas: Mapping[str, Persona] | None = None,
        *,
        rows: int = 8,
        max_length: int = 512,
        queue: int = 256,
        weights: Literal["auto", "folded", "packed"] = "auto",
        resident: int | None = None,
    ):
        """Allocates the cache; nothing is compiled before the first request.

        Args:
          personas: by name.
          rows: requests that run at once.
          max_length: most tokens of a prompt and its answer together; every row's cache has room for that.
          queue: most requests waiting.
          weights: ``folded`` keeps masked copies of the parameters, ``packed`` one copy and masks of one bit a weight; ``auto``
            is ``folded`` on a CPU with at most two personas or one row, and for personas other than masks, else ``packed``.
            Copies have the form in which so many rows are read quickest (``forward.pick_form``). A packed engine on a CPU reads
            compact parameters and does not hold on to the model's own.
          resident: distinct personas (when folded, with their gammas) that can run at once; others wait. By default 2 when
            folded, as many as rows when packed.

        Raises:
          InputError: for a setting out of range.
        """
        self.config, self.tokenizer, self._eos_ids, self._decoder = model.config, model.tokenizer, model.eos_ids, model.decoder
        self.personas, self.queue_limit = dict(personas or {}), queue
        self.max_length = min(max_length, self.config.max_positions)
        for name, value in (("rows", rows), ("max_length", max_length), ("queue", queue), ("resident", resident or 1)):
            if value < 1:
                raise InputError(f"{name} is {value}; give at least 1")
        if weights not in ("auto", "folded", "packed"):
            raise InputError(f"weights {weights!r} is unknown; known: auto, folded, packed")
        self.weights_kind = _pick(self.personas, rows) if weights == "auto" else weights
        if self.weights_kind == "folded":
            self._form = pick_form(model, rows)
            convert = functools.partial(in_form, model, form=self._form)
            self._weights = Folded(model.params, self.personas, resident or _COPIES, convert)
        else:
            self._form = pick_form(model, rows=1)  # as one row after another is read
            self._weights = Packed(in_form(model, model.params, self._form), self.personas, resident or rows)
        self._queue: collections.deque[Generation] = collections.deque()
        self._running: list[Generation | None] = [None] * rows
        self._seats: list[Seat | None] = [None] * rows
        self._state = self._empty_state()

    def submit(self, request: Request, on_text: OnText | None = None) -> Generation:
        """Queues a request; ``on_text`` gets each new piece of its text.

        Raises:
          InputError: for an unknown persona, or a prompt that is empty or leaves no room for ``max_new_tokens``.
          QueueFullError: when too many requests wait.
        """
        self.check(request)
        ids = request.ids(self.tokenizer)
        room = self.max_length - len(ids)
        if not 1 <= request.max_new_tokens <= room:
            raise InputError(
                f"max_new_tokens is {request.max_new_tokens}, but the prompt has {len(ids)} tokens and the engine room for "
                f"{self.max_length}; between 1 and {max(room, 0)} new tokens are possible"
            )
        if len(self._queue) >= self.queue_limit:
            raise QueueFullError(f"the queue is full ({self.queue_limit} requests wait); try again later")
        generation = Generation(request, ids, self.tokenizer, on_text)
        self._queue.append(generation)
        return generation

    def check(self, request: Request) -> None:
        """Refuses a persona that the engine does not have.

        Raises:
          InputError: for an unknown name, or a mixture that cannot be.
        """
        check_shares(self.personas, request.persona_shares)

    def run(self) -> None:
        """Steps until every request has ended."""
        while self.step():
            pass

    def generate(self, requests: Iterable[Request]) -> list[Generation]:
        """Submits requests, runs them to their ends, and returns them in order."""
        asked = [self.submit(request) for request in requests]
        self.run()
        return asked

    def memory(self) -> dict[str, int]:
        """Bytes of the ``parameters`` it holds, of the ``masks`` (when folded, copies of parameters), and of the ``cache``."""
        parameters, cache = (sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (self._weights.params, self._state))
        return {"parameters": parameters, "masks": self._weights.nbytes(), "cache": cache}

    def step(self) -> bool:
        """Lets waiting requests in and gives every running one its next token; returns whether any request is left."""
        self._drop_cancelled()
        self._admit()
        tokens = np.array([running.ids[-1] if running else 0 for running in self._running], np.int32)
        drawn = []
        try:
            for each in self._weights.passes(self._seats):
                self._state, new = decode(self._decoder, *each[:3], self._state, tokens, each.active, _rows(self._running))
                drawn.append((each.active, new))
            found = [(active, to_host(new)) for active, new in drawn]
        except RuntimeError as error:  # the donated cache is lost with the step; requests that wait are not
            self._fail_all(error)
            found = []
        for active, new in found:
            for row in np.flatnonzero(active):
                self._take(int(row), int(new[row]))
        return bool(self._queue) or any(self._running)

    def _drop_cancelled(self) -> None:
        for generation in [waiting for waiting in tuple(self._queue) if waiting.cancelled]:
            self._queue.remove(generation)
            generation.end("cancelled")
        for row, running in enumerate(self._running):
            if running is not None and running.cancelled:
                self._leave(row, running, "cancelled")

    def _admit(self) -> None:
        """Fills free rows in the order of arrival; a request whose persona finds no place holds up those behind it."""
        for row in [row for row, running in enumerate(self._running) if running is None]:
            while self._queue and self._running[row] is None:
                if not self._start(row, self._queue[0]):
                    return
                self._queue.popleft()

    def _start(self, row: int, generation: Generation) -> bool:
        """Reads a prompt into a free row; False if its persona has to wait. What goes wrong ends this request alone."""
        request = generation.request
        seat = None
        try:
            seat = self._weights.acquire(request.persona_shares, request.gamma)
            if seat is None:
                return False
            tokens = np.zeros((1, self._width(len(generation.prompt_ids))), np.int32)
            tokens[0, : len(generation.prompt_ids)] = generation.prompt_ids
            [one] = self._weights.passes([seat])
            new, token = prefill(self._decoder, *one[:3], tokens, _rows([generation]))
            first = int(to_host(token)[0])
        except (InputError, RuntimeError) as error:
            if seat is not None:
                self._weights.release(seat)
            generation.end("error", error)
            return True
        self._state = insert(self._state, row, new)
        self._running[row], self._seats[row] = generation, seat
        self._take(row, first)
        return True

    def _width(self, length: int) -> int:
        """The padded length of a prompt: a power of two or three quarters of one, so that few shapes compile."""
        power = max(_NARROWEST, 1 << (length - 1).bit_length())
        return min(self.max_length, power * 3 // 4 if length <= power * 3 // 4 else power)

    def _take(self, row: int, token: int) -> None:
        generation = self._running[row]
        assert generation is not None
        generation.add(token, self._eos_ids)
        if generation.finish is not None:
            self._vacate(row)

    def _leave(
        self, row: int, generation: Generation, finish: Literal["cancelled", "error"], error: Exception | None = None
    ) -> None:
        generation.end(finish, error)
        self._vacate(row)

    def _vacate(self, row: int) -> None:
        seat = self._seats[row]
        assert seat is not None
        self._weights.release(seat)
        self._running[row] = self._seats[row] = None

    def _fail_all(self, error: RuntimeError) -> None:
        for row, generation in enumerate(self._running):
            if generation is not None:
                self._leave(row, generation, "error", error)
        self._state = self._empty_state()

    def _empty_state(self) -> State:
        rows, dtype = len(self._running), compute_dtype(self._weights.params)
        return empty_state(self._form, self.config, rows, self.max_length, dtype)


def _pick(personas: Mapping[str, Persona], rows: int) -> Literal["folded", "packed"]:
    few_on_a_cpu = jax.default_backend() == "cpu" and (len(personas) <= _COPIES or rows == 1)
    masks_alone = all(isinstance(persona, Masks) for persona in personas.values())
    return "folded" if few_on_a_cpu or not masks_alone else "packed"


_IDLE = Sampling()


def _rows(running: list[Generation | None]) -> Rows:
    positions = [len(one.prompt_ids) + max(len(one.ids) - 1, -1) if one else 0 for one in running]
    numbers = [len(one.ids) if one else 0 for one in running]
    seeds = [one.request.seed if one else 0 for one in running]
    settings = settings_of([one.request.sampling if one else _IDLE for one in running])
    return Rows(np.array(positions, np.int32), np.array(numbers, np.int32), np.array(seeds, np.uint32), settings)  # type: ignore
