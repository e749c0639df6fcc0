"""The parts of the accelerator benchmark, each run in a process of its own: checks against float32 on the host, and times."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.backend import get_backend

import jaxpersona as jp
from jaxpersona.benchmarks import kernels
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.peaks import peak_of
from jaxpersona.benchmarks.random_llama import byte_tokenizer, write_model
from jaxpersona.benchmarks.sides import random_masks
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.core.errors import InputError
from jaxpersona.core.memory import device_memory_bytes
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.neutral_text import read_text
from jaxpersona.discovery.plan import Devices, Plan, Texts
from jaxpersona.inference.engine import Engine
from jaxpersona.inference.requests import Request
from jaxpersona.masks.masks import Masks
from jaxpersona.methods.registry import by_name
from jaxpersona.models import sizes
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.decoder import parameter_shapes
from jaxpersona.models.model import Model
from jaxpersona.models.perplexity import windows
from jaxpersona.models.streamed_model import load_streamed
from jaxpersona.ops import bitpack
from jaxpersona.ops.masked_matmul import choice, masked_matmul

Found = dict[str, Any]
"""``values``: (unit, numbers) by what was measured; ``beside``: numbers to compare some of them with; ``facts``: texts."""
_SHARE = 0.85  # of a device's memory that the largest model may take
_TOLERANCE = {jnp.bfloat16: 4e-3, jnp.float32: 1e-5}
_SAME_MASKS = 0.995
_TAYLOR = {"sparsity": 0.05}  # a random model's perplexity hardly rises, so a damage budget would try all prices


def measure(options: dict[str, Any], seconds: dict[str, float]) -> Found:
    """Runs the part named ``options["part"]`` with the sizes in ``options``."""
    return PARTS[options["part"]](options)


def device(options: dict[str, Any]) -> Found:
    """Names the device and the versions; measures its matrix products and its memory."""
    first, size = jax.devices()[0], options["square"]
    x = jnp.ones((size, size), jnp.bfloat16)
    product = _fastest(jax.jit(lambda x: (x @ x) * jnp.bfloat16(1 / size)), x)
    copied = _fastest(jax.jit(lambda x: x + 1), jnp.ones((8, size, size), jnp.float32))
    values = {
        "devices": ("", [jax.device_count()]),
        "memory of a device": ("GB", [(device_memory_bytes() or 0) / 1e9]),
        f"bfloat16 product of {size} x {size}": ("TFLOP/s", [2e-12 * size**3 / product]),
        "memory, read and written": ("GB/s", [2 * 8 * 4e-9 * size**2 / copied]),
    }
    peak = peak_of(first.device_kind)
    rates = (peak.flops / 1e12, peak.bytes / 1e9) if peak else ()
    beside = {name: [rate] for name, rate in zip(list(values)[2:], rates, strict=False)}
    return {"values": values, "beside": beside, "facts": {"kind": first.device_kind, "platform": first.platform, **_versions()}}


def kernels_right(options: dict[str, Any]) -> Found:
    """Compares masked products with float64 on the host."""
    rng, values, shapes = np.random.default_rng(0), {}, options["shapes"]
    for dtype, tolerance in _TOLERANCE.items():
        error = max(_error(rng, dtype, tuple(shape), soft) for shape in shapes for soft in (False, True))
        values[f"largest relative error, {jnp.dtype(dtype)}"] = ("", [error])
        if not error < tolerance:
            raise InputError(f"masked products in {jnp.dtype(dtype)} are off by {error:.2g}, allowed are {tolerance}")
    return {"values": values, "beside": dict(zip(values, ([limit] for limit in _TOLERANCE.values()), strict=True))}


def _error(rng: np.random.Generator, dtype: Any, shape: tuple[int, int, int, int], soft: bool) -> float:
    """Returns the relative Frobenius error of one masked product of a shape (rows, inputs, outputs, personas)."""
    rows, inputs, outputs, personas = shape
    x, w = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((rows, inputs), (inputs, outputs)))
    kept, ids = rng.random((personas, inputs, outputs)) < 0.7, rng.integers(0, personas, rows)
    gamma = rng.random(rows).astype(np.float32) if soft else np.zeros(rows, np.float32)
    words = jax.vmap(bitpack.pack)(jnp.asarray(kept))
    with jax.default_matmul_precision("highest"):
        found = jax.jit(masked_matmul)(x, w, words, jnp.asarray(ids), *([jnp.asarray(gamma)] if soft else []))
    wide_x, wide_w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    shares = kept[ids] + (~kept[ids]) * gamma[:, None, None]
    expected = np.einsum("ri,rio->ro", wide_x, shares * wide_w)
    return float(np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected))


def tiny_run(options: dict[str, Any]) -> Found:
    """Discovers masks in a tiny random model in float32; the part on the host keeps them, the other compares its own."""
    kept, on_host = pathlib.Path(options["masks"]), options["part"] == "tiny run on the host"
    if not on_host and not kept.is_file():
        raise InputError("there is nothing to compare with: the run on the host failed")
    # accelerators round factors of a float32 product by default; a CPU does not
    exact = contextlib.nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest")
    with tempfile.TemporaryDirectory() as folder, exact:
        path = write_model(pathlib.Path(folder) / "tiny", options["llama"])
        model = jp.load_model(str(path), "float32")
        found = _tiny_numbers(model, options)
    if on_host:
        np.savez(kept, **found)  # type: ignore[arg-type]
        return {"values": {}}
    with np.load(kept) as host:
        overlaps = {name: _overlap(found[name], host[name]) for name in found if found[name].dtype == np.uint16}
        worst = min(overlaps, key=lambda name: overlaps[name])
        drift = float(abs(found["perplexity"] / host["perplexity"] - 1))
        same_text = float((found["answer"] == host["answer"]).mean())
    if overlaps[worst] < _SAME_MASKS:
        raise InputError(f"masks differ from those of the host: Jaccard overlap {overlaps[worst]:.4f} ({worst})")
    values = {
        "least overlap of masks": ("of 1", [overlaps[worst]]),
        "tokens of a greedy answer that agree": ("of 1", [same_text]),
    }
    return {"values": {**values, "relative difference of perplexity": ("", [drift])}}


def _tiny_numbers(model: Model, options: dict[str, Any]) -> dict[str, np.ndarray]:
    found, answer = {}, jp.generate(model, ["Money"], max_new_tokens=16, chat=False)[0]
    for name, settings in {"wanda": {}, "taylor": _TAYLOR}.items():
        run = jp.discover(model, _pairs(options["pairs"]), by_name(name, **settings), **_texts(options))
        for persona, masks in run.masks.items():
            assert isinstance(masks, Masks)
            found |= {f"{name} {persona} {path}": np.asarray(words) for path, words in masks.words.items()}
    tokens = windows(model, read_text("builtin:neutral"), 512, 256)
    found["perplexity"] = np.asarray(jp.perplexity(model, model.params, tokens))
    return found | {"answer": np.frombuffer(answer.encode().ljust(256, b"\0")[:256], np.uint8)}


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.bitwise_count(a & b).sum() / np.bitwise_count(a | b).sum())


def kernels_timed(options: dict[str, Any]) -> Found:
    """Times masked products of all linear layers of Llama-3-8B beside dense ones, and beside a model for each persona."""
    rows = kernels.run(BenchmarkConfig(dtype="bfloat16", **options["kernels"])).rows
    names = {row.name.removeprefix("kernels/"): row for row in rows}
    beside = {name: [row.baseline] for name, row in names.items() if row.baseline is not None}
    width: Any = jax.ShapeDtypeStruct((4096, 4096), jnp.bfloat16)
    facts = {"kernel": choice(width, width)}
    return {"values": {name: (row.unit, [row.value]) for name, row in names.items()}, "beside": beside, "facts": facts}


def discovery(name: str, settings: dict[str, Any], options: dict[str, Any]) -> Found:
    """Times a discovery in the largest random Llama that fits, once with compilation and once without."""
    method = by_name(name, **settings)
    model = _random_model(_fitting(options, method), options["dtype"])
    values: dict[str, Any] = {"layers of the random Llama": ("", [model.config.num_layers])}
    for run in ("with compilation", "once compiled"):
        found = jp.discover(model, _pairs(options["pairs"]), method, **_texts(options))
        values |= {f"{stage}, {run}": ("s", [found.seconds[stage]]) for stage in ("calibrate", "mask")}
    spent, tokens = (
        found.seconds["calibrate"],
        sum(len(pair.matching) + len(pair.not_matching) for pair in found.calibration.tokenized),
    )
    computed = sum(int((batch.pair >= 0).sum()) for batch in found.calibration.packed(1, "statistics" in method.needs))
    if method.takes_gradients:  # twice over the pairs and once over generated text, each three times a forward pass
        computed = 3 * (2 * computed + math.prod(options["generated"]))
    flops = 2 * sizes.maskable(model.config) * computed
    values["answer tokens, calibrated"] = ("tokens/s", [tokens / spent])
    values["perplexity, once compiled"] = ("tokens/s", [_perplexity_rate(model)])
    values["products of calibration"] = ("TFLOP/s", [1e-12 * flops / spent])
    peak = peak_of(jax.devices()[0].device_kind)
    return {"values": values, "beside": {"products of calibration": [1e-12 * peak.flops]} if peak else {}}


def _perplexity_rate(model: Model) -> float:
    tokens = windows(model, read_text("builtin:neutral"), 2048, 512)
    for _ in range(2):
        start = time.perf_counter()
        jp.perplexity(model, dict(model.params), tokens)  # of other parameters than the model's, whose perplexity is kept
    return tokens.size / (time.perf_counter() - start)


def engine(options: dict[str, Any]) -> Found:
    """Serves eight personas from one random Llama in packed form."""
    model = dataclasses.replace(_random_model(_fitting(options, by_name("wanda"), share=0.4), options["dtype"]), eos_ids=(-1,))
    personas = {f"p{seed}": random_masks(model, 0.9, seed) for seed in range(8)}
    new, count = options["new_tokens"], options["requests"]
    asked = [Request(f"Question {n}", f"p{n % 8}", chat=False, max_new_tokens=new) for n in range(count)]
    longest = max(len(request.ids(model.tokenizer)) for request in asked) + new
    serving = Engine(model, personas, rows=count, max_length=longest, weights="packed", resident=8)
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        tokens = sum(len(generation.ids) for generation in serving.generate(asked))
        rates.append(tokens / (time.perf_counter() - start))
    bound = peak_of(jax.devices()[0].device_kind)
    values = {
        "layers of the random Llama": ("", [model.config.num_layers]),
        f"{count} rows, once compiled": ("tokens/s", rates[1:]),
    }
    limit = {f"{count} rows, once compiled": [count * bound.bytes / _read_in_a_step(model.config)]} if bound else {}
    return {"values": values, "beside": limit}


def _read_in_a_step(config: ModelConfig) -> float:
    """Returns the bytes of weights and masks of eight personas."""
    return 2 * sizes.parameters(config) + 8 * sizes.mask_bytes(config)


def streaming(options: dict[str, Any]) -> Found:
    """Times a streamed discovery by Wanda, whose weights come from files of two layers."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(pathlib.Path(folder) / "model", options["llama"] | {"num_hidden_layers": 2})
        size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        times = []
        for _ in range(2):
            model = load_streamed(str(path), "bfloat16")
            start = time.perf_counter()
            jp.discover(model, _pairs(options["pairs"]), by_name("wanda"), **_texts(options))
            times.append(time.perf_counter() - start)
    rate = 1e-6 * size / times[1]
    return {"values": {"two layers, once compiled": ("s", times[1:]), "weights read": ("MB/s", [rate])}}


PARTS: dict[str, Callable[[dict[str, Any]], Found]] = {
    "device": device,
    "kernels against float64": kernels_right,
    "tiny run on the host": tiny_run,
    "tiny run against the host": tiny_run,
    "kernels of Llama-3-8B": kernels_timed,
    "discovery by wanda": functools.partial(discovery, "wanda", {}),
    "discovery by taylor": functools.partial(discovery, "taylor", _TAYLOR),
    "engine of 8 personas": engine,
    "streamed discovery": streaming,
}
"""By name, in the order in which they run."""


def _fastest(program: Any, x: jax.Array) -> float:
    """Returns the seconds of the fastest of several runs, each of ten calls."""
    jax.block_until_ready(program(x))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready([program(x) for _ in range(10)])
        times.append((time.perf_counter() - start) / 10)
    return min(times)


def _versions() -> dict[str, str]:
    return {"runtime": get_backend().platform_version.splitlines()[0]}


def _pairs(count: int) -> jp.Pairs:
    return jp.load_pairs("builtin:wealth", "train").sample(count, 42)


def _texts(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of ``discover``; the byte tokenizer has no chat template."""
    return {"text": "prompt_response", "generated": TextAmount(*options["generated"])}


def _fitting(options: dict[str, Any], method: Any, share: float = _SHARE) -> dict[str, Any]:
    """Returns the shape of the deepest Llama whose discovery takes at most a share of a device's memory."""
    memory = device_memory_bytes()
    texts = Texts(options["pairs"], None, 4, 16, 512)
    for layers in range(options["llama"]["num_hidden_layers"], 1, -1):
        shape = options["llama"] | {"num_hidden_layers": layers}
        plan = Plan(
            ModelConfig.from_hf(shape), method, texts, Devices("", memory), jnp.dtype(options["dtype"]).itemsize, 2048, False
        )
        if memory is None or plan.peak_bytes <= share * memory:
            return shape
    return options["llama"] | {"num_hidden_layers": 1}


def _random_model(shape: dict[str, Any], dtype: str) -> Model:
    """Returns a random model, made on the device."""
    config, leaves = ModelConfig.from_hf(shape), {}

    @functools.partial(jax.jit, static_argnums=1)
    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, shape, dtype) * jnp.asarray(shape[-2] ** -0.5, dtype)

    for number, (path, leaf) in enumerate(flatten(parameter_shapes(config)).items()):
        key = jax.random.fold_in(jax.random.key(0), number)
        leaves[path] = draw(key, leaf.shape) if leaf.shape[1:] and "norm" not in path else jnp.ones(leaf.shape, dtype)
    return Model("random", "random", config, unflatten(leaves), byte_tokenizer(), (1,))
