"""Generation for requests of several personas: the engine beside one request after another with masks folded in."""

import dataclasses
import time
from typing import Any

from jaxpersona.benchmarking.processes import processor
from jaxpersona.benchmarking.rows import Row, place, row
from jaxpersona.config import check_at_least


@dataclasses.dataclass(frozen=True)
class Config:
    """Times the engine, folded and packed, beside generation one request after another.

    Args:
      model: smollm2-135m-instruct, a Hugging Face folder, or a .gguf file
      personas: distinct personas among the requests; their masks are random and keep 95 percent
      requests: how many requests there are
      max_new_tokens: tokens of every answer
      dtype: of parameters and computation
      repeats: how often each side runs, one after the other
      output: JSON file for the rows
    """

    model: str = "smollm2-135m-instruct"
    personas: list[int] = dataclasses.field(default_factory=lambda: [2, 8])
    requests: int = 8
    max_new_tokens: int = 64
    dtype: str = "auto"
    repeats: int = 3
    output: str | None = None

    def __post_init__(self) -> None:
        for key in ("requests", "max_new_tokens", "repeats"):
            check_at_least(1, getattr(self, key), key)
        for count in self.personas:
            check_at_least(1, count, "personas")


def run(config: Config) -> list[Row]:
    """Rows ``engine/...``: tokens a second, and memory as a multiple of the parameters'. Folding masks is not timed."""
    from jaxpersona.inference.engine import Engine
    from jaxpersona.inference.requests import Request
    from jaxpersona.models.model import load_model

    model = dataclasses.replace(load_model(config.model, config.dtype), eos_ids=(-1,))  # type: ignore[arg-type]
    found, rows = place(processor()), []
    prompts = [f"How would you spend a bonus of {number} dollars?" for number in range(config.requests)]
    width = max(len(Request(prompt).ids(model.tokenizer)) for prompt in prompts) + config.max_new_tokens
    for count in config.personas:
        personas = _random_masks(model.params, count)
        asked = [Request(text, f"p{i % count}", max_new_tokens=config.max_new_tokens) for i, text in enumerate(prompts)]
        engines = {
            kind: Engine(model, personas, rows=config.requests, max_length=width, weights=kind, resident=count)
            for kind in (("folded", "packed") if count <= 2 else ("packed",))
        }
        speeds: dict[str, list[float]] = {}
        for repeat in range(config.repeats + 1):  # the first compiles and folds
            for kind, engine in engines.items():
                speeds.setdefault(kind, []).append(_speed(engine, asked))
            speeds.setdefault("alone", []).append(_alone(model, personas, asked, config))
            if not repeat:
                speeds.clear()
        for kind, engine in engines.items():
            name = f"engine/{config.requests} requests of {count} personas, {kind}"
            rows.append(row(f"{name}: beside one after another", speeds[kind], speeds["alone"], "tokens/s", **found))
            memory = engine.memory()
            total = sum(memory.values()) / memory["parameters"]
            rows.append(row(f"{name}: weights, masks and cache", [total], [], "of the model's", **found))
    return rows


def _random_masks(params: Any, count: int) -> dict[str, Any]:
    import jax

    from jaxpersona import bitpack
    from jaxpersona.masks import Masks
    from jaxpersona.models.sites import kernels

    def masks(seed: int) -> Masks:
        key = jax.random.key(seed)
        kept = {
            path: jax.random.bernoulli(jax.random.fold_in(key, i), 0.95, kernel.shape) for i, (path, kernel) in enumerate(leaves)
        }
        return Masks.of(params, {path: bitpack.pack(bits) for path, bits in kept.items()})

    leaves = list(kernels(params).items())
    return {f"p{seed}": masks(seed) for seed in range(count)}


def _speed(engine: Any, asked: Any) -> float:
    start = time.perf_counter()
    tokens = sum(len(generation.ids) for generation in engine.generate(asked))
    return tokens / (time.perf_counter() - start)


def _alone(model: Any, personas: Any, asked: Any, config: Config) -> float:
    """Tokens a second of one compiled loop a request, all requests of a persona together so that its mask is folded once."""
    import jax

    from jaxpersona.inference.decoding import generate_ids
    from jaxpersona.masks import apply_mask

    seconds = 0.0
    for name, masks in personas.items():
        folded = jax.block_until_ready(apply_mask(model.params, masks))
        for request in (one for one in asked if one.persona == name):
            ids = request.ids(model.tokenizer)
            start = time.perf_counter()
            generate_ids(model, folded, [ids], config.max_new_tokens, request.sampling)
            seconds += time.perf_counter() - start
    return config.requests * config.max_new_tokens / seconds
