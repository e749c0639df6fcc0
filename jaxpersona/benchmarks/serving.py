"""Requests of several personas, served by the engine or one after another, in a process of its own."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax

from jaxpersona.inference.engine import Engine
from jaxpersona.inference.requests import Request
from jaxpersona.masks.masks import Masks, apply_mask
from jaxpersona.models.cached_forward import in_form, pick_form
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.sites import kernels
from jaxpersona.ops import bitpack

_KEPT = 0.95


def serve(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Tokens a second of every run but the first, which compiles, and what the engine holds as a multiple of the model.

    Args:
      options: ``kind`` (``folded`` or ``packed`` for the engine, ``alone`` for one request after another), ``personas``, how
        many (0: the model as it is), ``requests``, ``new_tokens``, ``repeats``, ``model``, ``dtype``.
    """
    model = dataclasses.replace(load_model(options["model"], options["dtype"]), eos_ids=(-1,))
    count, new = options["personas"], options["new_tokens"]
    personas = {f"p{seed}": _random_masks(model, seed) for seed in range(count)}
    asked = [
        Request(f"How would you spend a bonus of {number} dollars?", f"p{number % count}" if count else None, max_new_tokens=new)
        for number in range(options["requests"])
    ]
    if options["kind"] == "alone":
        speeds = [_alone(model, personas, asked) for _ in range(options["repeats"] + 1)]
        return {"tokens_per_second": speeds[1:]}
    width = max(len(request.ids(model.tokenizer)) for request in asked) + new
    engine = Engine(model, personas, rows=len(asked), max_length=width, weights=options["kind"], resident=count or None)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    del model  # of which a packed engine may hold another form
    speeds = [_served(engine, asked) for _ in range(options["repeats"] + 1)]
    return {"tokens_per_second": speeds[1:], "models": sum(engine.memory().values()) / size}


def _random_masks(model: Model, seed: int) -> Masks:
    key, words = jax.random.key(seed), {}
    for number, (path, kernel) in enumerate(kernels(model.params).items()):
        words[path] = bitpack.pack(jax.random.bernoulli(jax.random.fold_in(key, number), _KEPT, kernel.shape))
    return Masks.of(model.params, words)


def _served(engine: Engine, asked: Sequence[Request]) -> float:
    start = time.perf_counter()
    tokens = sum(len(generation.ids) for generation in engine.generate(asked))
    return tokens / (time.perf_counter() - start)


def _alone(model: Model, personas: dict[str, Masks], asked: Sequence[Request]) -> float:
    """One compiled loop a request, all requests of a persona together, so that its mask is folded once; that is not timed."""
    seconds, tokens = 0.0, 0
    for name, masks in {**personas, None: None}.items():
        folded = model.params if masks is None else apply_mask(model.params, masks)
        folded = jax.block_until_ready(in_form(model, folded, pick_form(model, 1)))
        for request in (one for one in asked if one.persona == name):
            ids = request.ids(model.tokenizer)
            start = time.perf_counter()
            [answer] = generate_ids(model, folded, [ids], request.max_new_tokens, request.sampling)
            seconds, tokens = seconds + time.perf_counter() - start, tokens + len(answer)
    return tokens / seconds
