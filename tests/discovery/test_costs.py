"""What the machine does not decide: compilations, forward passes, tokens and bytes; and formulas for them."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.benchmarks.compilations import Compilations
from jaxpersona.calibration import fisher, moments
from jaxpersona.calibration.hessians import outer_sums
from jaxpersona.core.tree import flatten
from jaxpersona.data.packing import Batch, pack
from jaxpersona.data.text import TokenizedPair
from jaxpersona.discovery import costs
from jaxpersona.masks.masks import Masks
from jaxpersona.methods import rowwise
from jaxpersona.models.config import ModelConfig, Rope
from jaxpersona.models.decoder import Decoder, parameter_shapes
from jaxpersona.models.sites import kernels
from jaxpersona.ops import topk

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
    assert moments.site_sums._cache_size() == 1
    assert rowwise.prune_kernel._cache_size() == 4


def test_masks_compile_while_statistics_are_collected(tiny_model, pairs, monkeypatch):
    jax.clear_caches()
    counts, prune = [], rowwise.prune

    def counted(*args):
        with Compilations() as compilations:
            found = prune(*args)
            found[0].kept()
        counts.append(compilations.count)
        return found

    monkeypatch.setattr(rowwise, "prune", counted)
    jp.discover(tiny_model, pairs, WANDA)
    assert counts == [0]


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
    site_sums = moments.site_sums
    monkeypatch.setattr(moments, "site_sums", lambda *args, **options: passes.append(1) or site_sums(*args, **options))
    calibration = jp.calibrate(tiny_model, pairs)
    jp.find_masks(tiny_model, method, calibration)
    assert len(passes) == len(calibration.batches()) == 1


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


# Formulas beside what XLA counts and allocates. XLA counts the body of a loop once, so its numbers are those of one layer.

SIZES = [
    {"num_layers": 2, "hidden_size": 256, "intermediate_size": 704, "num_heads": 4, "num_kv_heads": 2},
    {"num_layers": 4, "hidden_size": 512, "intermediate_size": 1024, "num_heads": 8, "num_kv_heads": 2},
    {"num_layers": 3, "hidden_size": 384, "intermediate_size": 1536, "num_heads": 6, "num_kv_heads": 6},
]


def shape_of(**sizes):
    rope = Rope()
    return ModelConfig("LlamaForCausalLM", 512, head_dim=64, max_positions=2048, norm_eps=1e-5, rope=rope, **sizes)


def abstract(config, rows, length, dtype=np.float32):
    """Parameters, a batch and shares as shapes alone."""
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), parameter_shapes(config))
    tokens = jax.ShapeDtypeStruct((rows, length), np.int32)
    weights = jax.ShapeDtypeStruct((2, rows, length), np.float32)
    return params, Batch(tokens, tokens, tokens, tokens, weights), jax.ShapeDtypeStruct((rows, length), np.float32)


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: str(sizes["hidden_size"]))
@pytest.mark.parametrize(("rows", "length"), [(4, 256), (8, 128)])
def test_operations_of_statistics_are_those_xla_counts(sizes, rows, length):
    config = shape_of(**sizes)
    params, batch, _ = abstract(config, rows, length)
    program = moments.site_sums.lower(params, batch, Decoder(config, moments.weighted_sums), None).compile()
    tokens = rows * length
    expected = (costs.forward_flops(config, tokens, length) + costs.moment_flops(config, tokens)) / config.num_layers
    assert program.cost_analysis()["flops"] == pytest.approx(expected, rel=0.03)
    held = program.memory_analysis().temp_size_in_bytes
    assert held == pytest.approx(costs.activation_bytes(config, rows, length, 1, 4), rel=0.25)


@pytest.mark.parametrize("sizes", SIZES[:2], ids=lambda sizes: str(sizes["hidden_size"]))
def test_operations_of_hessians_are_those_xla_counts(sizes):
    config = shape_of(**sizes)
    params, batch, _ = abstract(config, 4, 256)
    program = moments.site_sums.lower(params, batch, Decoder(config, outer_sums), None).compile()
    expected = (costs.forward_flops(config, 1024, 256) + costs.outer_flops(config, 1024)) / config.num_layers
    assert program.cost_analysis()["flops"] == pytest.approx(expected, rel=0.03)
    assert program.memory_analysis().output_size_in_bytes == pytest.approx(costs.outer_bytes(config), rel=0.01)


@pytest.mark.parametrize("gradient", [True, False])
def test_operations_and_memory_of_gradients_are_those_xla_counts(gradient):
    config = dataclasses.replace(shape_of(**SIZES[1]), vocab_size=8192)
    params, *batch = abstract(config, 2, 256)
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((3, *leaf.shape), leaf.dtype), (*batch, batch[1]))
    total = jax.eval_shape(lambda flat: fisher._nothing(flat, gradient, None), kernels(params))
    program = fisher._sums.lower(total, kernels(params), params, rows, (0, 3), Decoder(config, outer_sums), 256, None).compile()
    head = 2 * 2 * config.vocab_size * config.hidden_size * 512
    expected = (costs.gradient_flops(config, 512, 256, gradient) - head) / config.num_layers + head / 2  # a loop over two rows
    assert program.cost_analysis()["flops"] == pytest.approx(expected, rel=0.05)
    sums, memory = costs.outer_bytes(config, 1) + 4 * costs.maskable(config) * gradient, program.memory_analysis()
    assert memory.alias_size_in_bytes == pytest.approx(sums, rel=0.01)  # what there was is added to in place
    held = costs.gradient_activation_bytes(config, 2, 256, 1, config.num_layers, gradient)
    assert memory.temp_size_in_bytes - sums == pytest.approx(held, rel=0.2)


def test_sizes_are_those_of_the_arrays(tiny_model, pairs):
    config = tiny_model.config
    run = jp.discover(tiny_model, pairs, WANDA)
    flat = kernels(tiny_model.params)
    assert costs.parameters(config) == sum(leaf.size for leaf in jax.tree.leaves(tiny_model.params))
    assert costs.maskable(config) == sum(kernel.size for kernel in flat.values())
    assert costs.mask_bytes(config) == sum(words.nbytes for words in run.masks["seek"].words.values())
    assert costs.moments_bytes(config) == sum(leaf.nbytes for leaf in jax.tree.leaves(run.statistics.moments))
    assert costs.parameters_of_device(config, 4, 1) == costs.parameters(config)
    norms = sum(leaf.size for path, leaf in flatten(tiny_model.params).items() if path.endswith("scale"))
    assert costs.parameters_of_device(config, 1, 2) == norms + (costs.parameters(config) - norms) // 2


def loops(jaxpr):
    """The loops of a trace and of what it calls; those of ties are in branches, which are left out."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            yield equation
        elif equation.primitive.name in ("jit", "pjit"):
            yield from loops(equation.params["jaxpr"].jaxpr)


def test_bisection_reads_at_most_what_the_program_loops_over():
    """The loops of one choice, from its trace: what they compare each time, at most once for each of its bits."""
    config, read = shape_of(**{**SIZES[0], "num_layers": 1}), 0
    for _, *shape in costs.kernel_shapes(config).values():
        trace = jax.make_jaxpr(topk.top_k_mask)(jax.ShapeDtypeStruct(shape, np.float32), 1)
        for loop in loops(trace.jaxpr):
            compared = [each.aval for each in loop.invars if each.aval.shape == tuple(shape)]
            read += sum(8 * array.dtype.itemsize * array.size * array.dtype.itemsize for array in compared)
    assert costs.selection_bytes(config) == costs.PERSONAS * read


def test_a_ring_sends_what_rings_send():
    config = shape_of(**SIZES[0])
    assert costs.sent_for_rows(config, 100, 1) == costs.sent_for_sums(8.0, 1) == costs.sent_for_masks(config, 1, 2) == 0
    assert costs.sent_for_sums(8.0, 4) == 12
    assert costs.sent_for_rows(config, 100, 4) == 2 * 2 * 100 * 256 * 4 * 2 * 3 / 4  # layers, sums, tokens, hidden, bytes
