"""What the machine does not decide: compilations, forward passes, tokens and bytes. They must not grow unnoticed."""

import json
import pathlib

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona import pruning, statistics
from jaxpersona.benchmarking.compilations import Compilations
from jaxpersona.data.packing import pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.masks import Masks

WANDA = jp.methods.Wanda(0.5)


def test_a_second_persona_pair_compiles_nothing(tiny_model, pairs):
    jp.discover(tiny_model, pairs, WANDA)
    with Compilations() as compilations:
        jp.discover(tiny_model, pairs[::-1], WANDA)
    assert compilations.count == 0


def test_programs_do_not_grow_with_pairs_or_layers(tiny_model, pairs):
    """One program reads batches; masks need one for each shape of kernel, of which this model has four."""

    jax.clear_caches()
    jp.discover(tiny_model, pairs, WANDA)
    assert statistics.site_sums._cache_size() == 1
    assert pruning._prune_kernel._cache_size() == 4


def realistic(count=128, seed=0):
    """Pairs as long as those of AI Persona under SmolLM2's tokenizer: about a hundred tokens."""
    rng = np.random.default_rng(seed)

    def ids(least, most):
        return tuple(rng.integers(5, 200, rng.integers(least, most)).tolist())

    return [TokenizedPair(ids(30, 80), ids(5, 60), ids(5, 60), 0, False) for _ in range(count)]


def test_tokens_processed_are_few_more_than_there_are():
    pairs = realistic()
    batches = pack(pairs, None, 256)
    needed, processed = sum(map(len, pairs)), sum(batch.tokens.size for batch in batches)
    apart = sum(2 * len(pair.prefix) + len(pair.matching) + len(pair.not_matching) for pair in pairs)
    assert processed <= 1.1 * needed < 0.9 * apart
    assert len(batches) <= -(-processed // 4096) + 3


@pytest.mark.parametrize("method", [WANDA, jp.methods.Sparse(0.5), jp.methods.ContrastiveWanda(0.5)], ids=lambda m: m.name)
def test_both_personas_take_one_pass_over_the_batches(tiny_model, pairs, method, monkeypatch):
    passes = []
    site_sums = statistics.site_sums
    monkeypatch.setattr(statistics, "site_sums", lambda *args, **options: passes.append(1) or site_sums(*args, **options))
    calibration = jp.calibrate(tiny_model, pairs)
    jp.find_masks(tiny_model, method, calibration)
    assert len(passes) == len(calibration._batches()) == 1


def test_masks_take_a_bit_a_weight_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"q_proj": (4, 512, 512), "down_proj": (4, 1536, 512)}
    kernels = {name: {"kernel": rng.random(shape) < 0.7} for name, shape in shapes.items()}
    masks = Masks.from_bool({"layers": {"self_attn": {"q_proj": kernels["q_proj"]}, "mlp": {"down_proj": kernels["down_proj"]}}})
    jp.save_masks(tmp_path / "seek", masks, {})
    weights = sum(int(np.prod(shape)) for shape in shapes.values())
    written = sum(path.stat().st_size for path in pathlib.Path(tmp_path).rglob("*") if path.is_file())
    assert weights / 8 * 0.8 < written < weights / 8 + 20_000
    assert json.loads((tmp_path / "seek" / "metadata.json").read_text())["kept"] == pytest.approx(0.7, abs=0.01)
