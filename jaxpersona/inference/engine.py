"""Serves requests under different personas from one continuously batched decoding loop.

    engine = Engine(model, {"seek": seek, "reject": reject})
    generations = [engine.submit(Request("How would you spend a bonus?", persona=name)) for name in ("seek", "reject", None)]
    engine.run()
    print(*(generation.text for generation in generations))

A request joins the batch when a row is free and leaves it when it ends. Every step runs the same compiled function over the same
number of rows, so a request's tokens do not depend on the other requests. docs/engine.md has the design and measurements.
"""

import collections
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import jax
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.finite import OVERFLOW
from jaxpersona.core.mesh import mesh_of, to_host
from jaxpersona.inference.persona_names import check_name
from jaxpersona.inference.persona_weights import Folded, Packed, Slot, check_shares
from jaxpersona.inference.requests import Generation, OnText, Request
from jaxpersona.inference.steps import NOT_FINITE, Drawn, Rows, State, decode, empty_state, insert, prefill
from jaxpersona.inference.token_scores import token_score
from jaxpersona.masks.masks import Masks
from jaxpersona.models.cached_forward import in_form, pick_form
from jaxpersona.models.decoder import compute_dtype
from jaxpersona.models.model import Model
from jaxpersona.models.persona import Persona
from jaxpersona.models.sampling import Sampling, settings_of

_MIN_WIDTH = 64
_COPIES = 2


class QueueFullError(InputError):
    """The engine's queue is full; retry after some requests have ended."""


class Engine:
    """Serves many personas of one model from one batch.

    One thread must call ``run`` or ``step``; other threads may call ``submit`` and ``Generation.cancel``.
    """

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
        """Allocates the KV cache. Compilation happens at the first request.

        Args:
          personas: masks or steering vectors by persona name.
          rows: number of requests that run at once (the batch size).
          max_length: maximum tokens of a prompt and its answer together; every row's KV cache has this length.
          queue: maximum number of waiting requests.
          weights: where masked weights come from (docs/engine.md).

            - ``folded``: a masked copy of the parameters per persona.
            - ``packed``: one copy of the parameters, and masks of one bit per weight.
            - ``auto``: ``folded`` on a CPU with at most two personas or one row, and if any persona is not a mask; else
              ``packed``.

            Folded copies take the parameter form that is fastest for ``rows`` rows (``cached_forward.pick_form``). A packed
            engine on a CPU uses compact parameters and keeps no reference to the model's own.
          resident: number of distinct personas (if folded, of persona and gamma) that can run at once; requests for others wait.
            Defaults to 2 if folded, to ``rows`` if packed.

        Raises:
          InputError: if a setting is out of range.
        """
        self.config, self.tokenizer, self._eos_ids, self._decoder = model.config, model.tokenizer, model.eos_ids, model.decoder
        self.personas, self.queue_limit = dict(personas or {}), queue
        self.max_length = min(max_length, self.config.max_positions)
        for name, value in (
            ("rows", rows),
            ("max_length", max_length),
            ("queue", queue),
            ("resident", 1 if resident is None else resident),
        ):
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
            self._form = pick_form(model, rows=1)  # a packed pass multiplies one row after another
            self._weights = Packed(in_form(model, model.params, self._form), self.personas, resident or rows)
        self._queue: collections.deque[Generation] = collections.deque()
        self._running: list[Generation | None] = [None] * rows
        self._slots: list[Slot | None] = [None] * rows
        self._state = self._empty_state(len(self._running))

    def submit(self, request: Request, on_text: OnText | None = None) -> Generation:
        """Queues a request and returns its generation, which fills while the engine runs.

        Args:
          on_text: receives each new piece of the answer.

        Raises:
          InputError: if the persona is unknown, the prompt is empty, has an unknown token id, or leaves no room for
            ``max_new_tokens``.
          QueueFullError: if the maximum number of requests is waiting.
        """
        self.check(request)
        ids = request.ids(self.tokenizer)
        self.check_ids(ids)
        room = self.max_length - len(ids)
        least = 0 if request.prompt_scored else 1
        if not least <= request.max_new_tokens <= room:
            raise InputError(
                f"max_new_tokens is {request.max_new_tokens}, but the prompt has {len(ids)} tokens and the engine holds "
                f"{self.max_length} per request; between {least} and {max(room, 0)} new tokens are possible"
            )
        if len(self._queue) >= self.queue_limit:
            raise QueueFullError(f"the queue is full ({self.queue_limit} requests wait); try again later")
        generation = Generation(request, ids, self.tokenizer, on_text)
        self._queue.append(generation)
        return generation

    @property
    def rows(self) -> int:
        """Number of requests that can run at once."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a row."""
        return len(self._queue)

    @property
    def running(self) -> list[Generation]:
        """The generations that have a row."""
        return [generation for generation in tuple(self._running) if generation is not None]

    def add_persona(self, name: str, persona: Persona) -> None:
        """Adds a persona, between two steps; nothing is compiled.

        Raises:
          InputError: if there is one of that name, or this engine cannot hold it.
        """
        if name in self.personas:
            raise InputError(f"there is a persona {name!r} already; choose another name, or remove it first")
        self._weights.check(name, persona)
        self.personas[name] = persona

    def remove_persona(self, name: str) -> None:
        """Removes a persona, between two steps.

        Raises:
          InputError: if there is none of that name, or requests for it wait or run.
        """
        check_name(name, self.personas)
        if self.uses(name):
            raise InputError(f"requests for persona {name!r} wait or run; remove it when they have ended")
        del self.personas[name]
        self._weights.forget(name)

    def uses(self, name: str) -> bool:
        """Returns whether a request that waits or runs is for a persona, or for a mixture with it."""
        asked = (generation.request for generation in (*tuple(self._queue), *self.running))
        return any(name in dict(request.persona_shares) for request in asked)

    def warm_up_requests(self) -> list[Request]:
        """Returns requests that compile the programs of all later ones; run them one after another.

        Folded weights compile one more small program for each new gamma.
        """
        longest = {self._width(length): length for length in range(1, self.max_length)}
        first = next(iter(self.personas), None)
        kinds: list[tuple[str | None, float]] = [(first, 0.0)]
        if self.weights_kind == "folded":
            kinds += [(None, 0.0)]
        elif first is not None and self._form != "compact":
            kinds += [(first, 0.5)]
        masks = [name for name, persona in self.personas.items() if isinstance(persona, Masks)][:2]
        mixtures = [Request([0], dict.fromkeys(masks, 0.5), max_new_tokens=1)] if len(masks) == 2 else []
        prompts = [(length, *kind) for kind in kinds for length in longest.values()]
        return mixtures + [
            Request([0] * length, name, gamma, max_new_tokens=min(2, self.max_length - length)) for length, name, gamma in prompts
        ]

    def check(self, request: Request) -> None:
        """Checks that the engine can serve the request's persona.

        Raises:
          InputError: if a name is unknown or the mixture is invalid.
        """
        check_shares(self.personas, request.persona_shares)

    def check_ids(self, ids: Sequence[int]) -> None:
        """Checks that token ids exist.

        Raises:
          InputError: if one does not.
        """
        unknown = next((token for token in ids if not 0 <= token < self.config.vocab_size), None)
        if unknown is not None:
            raise InputError(f"token id {unknown} does not exist; ids go from 0 to {self.config.vocab_size - 1}")

    def run(self) -> None:
        """Runs steps until every request has ended."""
        while self.step():
            pass

    def generate(self, requests: Iterable[Request]) -> list[Generation]:
        """Submits requests, runs them to completion, and returns their generations in order.

        Raises:
          InputError: as ``submit``.
        """
        generations = [self.submit(request) for request in requests]
        self.run()
        return generations

    def memory(self) -> dict[str, int]:
        """Returns the bytes of ``parameters``, of ``masks`` (if folded, of the masked copies) and of the KV ``cache``."""
        parameters, cache = (sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (self._weights.params, self._state))
        return {"parameters": parameters, "masks": self._weights.nbytes(), "cache": cache}

    def step(self) -> bool:
        """Admits waiting requests, decodes one token per running request, and returns whether any request is left."""
        self._drop_cancelled()
        self._admit()
        tokens = np.array([running.ids[-1] if running else 0 for running in self._running], np.int32)
        drawn = []
        try:
            for each in self._weights.passes(self._slots):
                self._state, new = decode(self._decoder, *each[:3], self._state, tokens, each.active, _rows(self._running))
                drawn.append((each.active, new))
            on_host = [(active, new._replace(tokens=to_host(new.tokens))) for active, new in drawn]
        except RuntimeError as error:  # the failed step took the donated cache with it, but waiting requests can still run
            self._fail_all(error)
            on_host = []
        for active, new in on_host:
            for row in np.flatnonzero(active):
                self._append(int(row), new, int(row))
        return bool(self._queue) or any(self._running)

    def _drop_cancelled(self) -> None:
        for generation in [waiting for waiting in tuple(self._queue) if waiting.cancelled]:
            self._queue.remove(generation)
            generation.end("cancelled")
        for row, running in enumerate(self._running):
            if running is not None and running.cancelled:
                self._end(row, running, "cancelled")

    def _admit(self) -> None:
        """Fills free rows in order of arrival. A request without a free slot blocks those behind it, so that none starves."""
        for row in [row for row, running in enumerate(self._running) if running is None]:
            while self._queue and self._running[row] is None:
                if not self._start(row, self._queue[0]):
                    return
                self._queue.popleft()

    def _start(self, row: int, generation: Generation) -> bool:
        """Prefills a prompt into a free row; returns False if its persona has to wait. An error ends only this request."""
        request = generation.request
        slot = None
        try:
            slot = self._weights.acquire(request.persona_shares, request.gamma)
            if slot is None:
                return False
            tokens = np.zeros((1, self._width(len(generation.prompt_ids))), np.int32)
            tokens[0, : len(generation.prompt_ids)] = generation.prompt_ids
            [one] = self._weights.passes([slot])
            new, drawn, prompt = prefill(self._decoder, *one[:3], tokens, _rows([generation]))
            drawn = drawn._replace(tokens=to_host(drawn.tokens))
            if request.prompt_scored:
                generation.add_prompt(jax.tree.map(to_host, prompt))
        except (InputError, RuntimeError) as error:
            if slot is not None:
                self._weights.release(slot)
            generation.end("error", error)
            return True
        if request.max_new_tokens == 0:
            self._weights.release(slot)
            generation.end("length")
            return True
        self._state = insert(self._state, row, new)
        self._running[row], self._slots[row] = generation, slot
        self._append(row, drawn, 0)
        return True

    def _width(self, length: int) -> int:
        """Returns the padded prompt length: a power of two or three quarters of one, so that few shapes compile."""
        power = max(_MIN_WIDTH, 1 << (length - 1).bit_length())
        return min(self.max_length, power * 3 // 4 if length <= power * 3 // 4 else power)

    def _append(self, row: int, drawn: Drawn, index: int) -> None:
        """Adds token ``index`` of the drawn ones to the generation in ``row``."""
        generation, token = self._running[row], int(drawn.tokens[index])
        assert generation is not None
        if token == NOT_FINITE:
            where = f"after {len(generation.ids)} new tokens of the answer to {str(generation.request.prompt)[:40]!r}"
            self._state = insert(self._state, row, self._empty_state(1))  # NaN times zero would reach the row's next request
            return self._end(row, generation, "error", InputError(f"logits are not finite {where}: {OVERFLOW}"))
        score, alternatives = None, generation.request.alternatives
        if alternatives is not None:
            score = token_score(jax.tree.map(to_host, drawn.scores), index, token, alternatives)
        generation.add(token, self._eos_ids, score)
        if generation.finish is not None:
            self._free(row)
        return None

    def _end(
        self, row: int, generation: Generation, finish: Literal["cancelled", "error"], error: Exception | None = None
    ) -> None:
        generation.end(finish, error)
        self._free(row)

    def _free(self, row: int) -> None:
        slot = self._slots[row]
        assert slot is not None
        self._weights.release(slot)
        self._running[row] = self._slots[row] = None

    def _fail_all(self, error: RuntimeError) -> None:
        for row, generation in enumerate(self._running):
            if generation is not None:
                self._end(row, generation, "error", error)
        self._state = self._empty_state(len(self._running))

    def _empty_state(self, rows: int) -> State:
        params = self._weights.params
        return empty_state(self._form, self.config, rows, self.max_length, compute_dtype(params), mesh_of(params))


def _pick(personas: Mapping[str, Persona], rows: int) -> Literal["folded", "packed"]:
    few_on_cpu = jax.default_backend() == "cpu" and (len(personas) <= _COPIES or rows == 1)
    only_masks = all(isinstance(persona, Masks) for persona in personas.values())
    return "folded" if few_on_cpu or not only_masks else "packed"


_IDLE = Sampling()


def _rows(running: list[Generation | None]) -> Rows:
    positions = [len(one.prompt_ids) + max(len(one.ids) - 1, -1) if one else 0 for one in running]
    numbers = [len(one.ids) if one else 0 for one in running]
    seeds = [one.request.seed if one else 0 for one in running]
    settings = settings_of([one.request.sampling if one else _IDLE for one in running])
    scored = any(one is not None and one.request.alternatives is not None for one in running)
    prompt_scored = any(one is not None and one.request.prompt_scored for one in running)
    arrays = (np.array(positions, np.int32), np.array(numbers, np.int32), np.array(seeds, np.uint32))
    return Rows(*arrays, settings, np.bool_(scored), np.bool_(prompt_scored))  # type: ignore
