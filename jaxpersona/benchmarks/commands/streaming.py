"""Memory and time of discovery a layer at a time beside discovery in memory, and both under a limit of memory."""

import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file

from jaxpersona.benchmarks.processes import cache_in, processor
from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.core.errors import InputError

_VOCABULARY = 320  # bytes, two special tokens, and room


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures ``discover`` with and without ``stream_layers`` on a random Llama (MLP three and a half times as wide), float32.

    Both run as they are, streamed also on two layers alone; then again, allowed as much memory as those two layers took
    and ``room`` more. Linux only.

    Args:
      layers: of the model
      width: of its residual stream, a multiple of 64
      samples: calibration pairs
      method: of discover
      room: MB above what two layers need
      baseline: also run with the whole model in memory and no limit
      output: JSON file for the rows
    """

    layers: int = 32
    width: int = 1024
    samples: int = 8
    method: str = "wanda"
    room: int = 128
    baseline: bool = True
    output: str | None = None


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
      status: its exit status; negative, the signal that ended it.
      seconds: from start to end.
      anonymous: the most memory of its own, without pages of files, it had at a time, in bytes.
      data: the most it had asked for, in bytes: what ``RLIMIT_DATA`` limits.
    """

    status: int
    seconds: float
    anonymous: int
    data: int


def run(config: Config) -> list[Row]:
    """Rows ``streaming/...``."""
    if not sys.platform.startswith("linux"):
        raise InputError("this benchmark reads memory from /proc and limits it, which only Linux does as it needs")
    found = place(processor())
    with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as folder:
        work = pathlib.Path(folder)
        small, large = (write_model(work / str(layers), layers, config.width) for layers in (2, config.layers))
        size = sum(file.stat().st_size for file in large.glob("*.safetensors"))
        two = discover(config, small, work, stream=True)
        streamed, *resident = (discover(config, large, work, stream) for stream in (True, False)[: 1 + config.baseline])
        limit = two.data + config.room * 10**6
        held, failed = (discover(config, large, work, stream, limit) for stream in (True, False))
    return [
        row("streaming/weights", [size / 1e6], [], "MB", **found),
        row("streaming/peak memory of two layers alone", [two.anonymous / 1e6], [], "MB", **found),
        row("streaming/peak memory", [streamed.anonymous / 1e6], [ended.anonymous / 1e6 for ended in resident], "MB", **found),
        row("streaming/whole process", [streamed.seconds], [ended.seconds for ended in resident], "s", **found),
        row("streaming/limit", [limit / 1e6], [], "MB", **found),
        row("streaming/exit status under the limit (in memory: baseline)", [held.status], [failed.status], "", **found),
    ]


def write_model(folder: pathlib.Path, layers: int, width: int, seed: int = 0) -> pathlib.Path:
    """A random Llama as a Hugging Face folder, a shard a layer, with bytes for tokens; returns the folder."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": _VOCABULARY,
        "hidden_size": width,
        "intermediate_size": width * 7 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    _byte_tokenizer().save_pretrained(folder)
    shards = {}
    for number, tensors in enumerate(_shards(config, seed)):
        save_file(tensors, folder / f"{number}.safetensors")
        shards |= dict.fromkeys(tensors, f"{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder


def _shards(config: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """The tensors outside the layers, then those of each layer."""
    rng, hidden, inner = np.random.default_rng(seed), config["hidden_size"], config["intermediate_size"]
    ones = np.ones(hidden, np.float32)

    def random(*shape: int) -> Any:
        return rng.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)

    yield {"model.embed_tokens.weight": random(_VOCABULARY, hidden), "model.norm.weight": ones}
    for layer in range(config["num_hidden_layers"]):
        tensors = {f"self_attn.{name}_proj.weight": random(hidden, hidden) for name in "qkvo"}
        tensors |= {f"mlp.{name}_proj.weight": random(inner, hidden) for name in ("gate", "up")}
        tensors |= {"mlp.down_proj.weight": random(hidden, inner)}
        tensors |= {f"{name}_layernorm.weight": ones for name in ("input", "post_attention")}
        yield {f"model.layers.{layer}.{name}": tensor for name, tensor in tensors.items()}


def _byte_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "</s>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def discover(config: Config, model: pathlib.Path, work: pathlib.Path, stream: bool, limit: int | None = None) -> Ended:
    """Runs the command to its end, with ``limit`` bytes of memory of its own if that is given."""
    options = {"model.name": model, "model.dtype": "float32", "stream_layers": str(stream).lower(), "overwrite": "true"}
    options |= {"method.name": config.method, "data.num_samples": config.samples, "data.text": "prompt_response"}
    options |= {"perplexity.max_tokens": 0, "output_dir": work / "run"}

    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxpersona.discover", *(f"--{key}={value}" for key, value in options.items())],
        env={**_environment(), **cache_in(str(work / "cache"))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if limit is not None:  # from outside, while it starts: JAX must not be forked
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
    peaks = {"RssAnon": 0, "VmData": 0}
    while process.poll() is None:
        peaks = {key: max(value, peaks[key]) for key, value in _memory(process.pid).items()}
        time.sleep(0.01)
    return Ended(process.returncode, time.perf_counter() - start, peaks["RssAnon"], peaks["VmData"])


def _environment() -> dict[str, str]:
    """This process's, with one arena of memory for all threads, so that what is asked for is what is used."""
    return {**os.environ, "MALLOC_ARENA_MAX": "1"}


def _memory(process: int) -> dict[str, int]:
    """Bytes of memory of a process by name in ``/proc``; zeros once it has ended."""
    try:
        lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        lines = []
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "VmData"))}
    return {"RssAnon": 0, "VmData": 0} | found
