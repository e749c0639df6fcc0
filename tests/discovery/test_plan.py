"""Plans hold the memory and disk of a discovery, and refuse what cannot fit."""

import dataclasses

import jax
import pytest
from shapes import LLAMA_8B, SMALL, config_of

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.memory import device_memory_bytes
from jaxpersona.core.mesh import make_mesh
from jaxpersona.discovery import plan
from jaxpersona.discovery.plan import Devices, Plan, Texts
from jaxpersona.models import sizes

TEXTS = Texts(pairs=128, tokens=13_000, batches=4, rows=16, length=256)
WANDA, TAYLOR = jp.methods.Wanda(), jp.methods.Taylor()
H200, TPU = Devices("H200", 141 * 10**9), Devices("TPU v5e", 16 * 10**9)


def of(method=WANDA, devices=H200, data=1, model=1, config=LLAMA_8B, itemsize=2, perplexity_tokens=2048, stream_layers=False):
    devices = dataclasses.replace(devices, data=data, model=model)
    return Plan(config, method, TEXTS, devices, itemsize, perplexity_tokens, stream_layers)


@pytest.fixture(autouse=True)
def large_host(monkeypatch):
    """Gives every machine a large host, so that devices decide."""
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: 10**12)


def test_numbers_of_a_known_model():
    found = of()
    assert found.parameter_bytes == 2 * 8_030_261_248
    assert found.written_bytes == 2 * 6_979_321_856 / 8
    assert found.checkpoint_bytes == sizes.moments_bytes(LLAMA_8B)


def test_updated_weights_are_written_too():
    masks, updated = (of(jp.methods.SparseGPT(update=update)).written_bytes for update in (False, True))
    assert updated == masks + 2 * 2 * 6_979_321_856


def test_what_fits_is_accepted_and_what_does_not_is_refused():
    of().check()
    message = r"a device \(TPU v5e\) needs \d+.\d GB and has 16.0 GB; use stream_layers true or a mesh.model above 1 or a smaller"
    with pytest.raises(InputError, match=message):
        of(devices=TPU).check()
    with pytest.raises(InputError, match=r"use model.dtype bfloat16 or stream_layers true"):
        of(devices=TPU, itemsize=4).check()
    of(devices=TPU, data=4, model=4).check()
    of(TAYLOR, TPU, data=4, model=4).check()  # sums are sharded over all devices
    with pytest.raises(InputError, match=r"a mesh.model above 2"):
        of(TAYLOR, TPU, data=8, model=2).check()


def test_leaving_perplexity_out_is_advised_where_it_helps():
    shared = dataclasses.replace(TPU, memory_bytes=24 * 10**9)
    with pytest.raises(InputError, match=r"use perplexity.max_tokens 0 or stream_layers true"):
        of(devices=shared).check()
    of(devices=shared, perplexity_tokens=0).check()


def test_the_host_is_refused_too(monkeypatch):
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: 10**9)
    with pytest.raises(InputError, match=r"this machine needs \d.\d GB and has 1.0 GB; use stream_layers true"):
        of().check()
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: None)
    of().check()


def test_unknown_device_memory_refuses_nothing():
    of(devices=dataclasses.replace(H200, memory_bytes=None)).check()


def test_on_a_cpu_devices_are_the_host(monkeypatch):
    found = of(devices=Devices("cpu", 1, is_host=True), data=2)
    assert found.peak_host_bytes > 2 * found.peak_bytes
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: int(found.peak_host_bytes) + 1)
    found.check()
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: int(found.peak_host_bytes) - 1)
    with pytest.raises(InputError, match=r"this machine needs .* stream_layers true or a smaller model"):
        found.check()


@pytest.mark.parametrize("method", [WANDA, jp.methods.SparseGPT(), TAYLOR, jp.methods.Magnitude()], ids=lambda m: m.name)
def test_shares_shrink_with_the_mesh(method):
    one, split = of(method), of(method, data=2, model=4)
    assert split.parameter_bytes < one.parameter_bytes / 3.9
    assert split.peak_bytes < one.peak_bytes
    assert split.selection_bytes < one.selection_bytes / 3.9
    assert all(shared <= alone for shared, alone in zip(split.statistics_bytes, one.statistics_bytes, strict=True))
    assert (split.written_bytes, split.checkpoint_bytes) == (one.written_bytes, one.checkpoint_bytes)


def test_taylor_at_8b_fits_one_gpu_of_80_gb_only_layer_by_layer():
    gpu = Devices("NVIDIA H100 80GB HBM3", 60 * 10**9)  # JAX takes three quarters
    assert str(of(TAYLOR, gpu).shortage) == "a device (NVIDIA H100 80GB HBM3) needs 106.3 GB and has 60.0 GB"
    streamed = of(TAYLOR, gpu, stream_layers=True)
    assert streamed.peak_bytes == pytest.approx(8.7e9, rel=0.01)
    gradient, factors = 4 * 218_103_808, 4 * (2 * 4096**2 + 4096**2 + 14336**2)  # of one layer
    assert streamed.statistics_bytes[0] == pytest.approx(2 * gradient + 3 * factors, rel=0.01)


def test_streaming_holds_two_layers():
    config = config_of(**{**SMALL[0], "num_layers": 64})
    resident, streamed = of(config=config), of(config=config, stream_layers=True)
    assert streamed.parameter_bytes < resident.parameter_bytes / 10
    assert streamed.peak_bytes < resident.peak_bytes


def test_a_damage_budget_needs_a_masked_copy_of_the_parameters():
    share, budget = (
        of(jp.methods.Taylor(**options), perplexity_tokens=0)
        for options in ({"sparsity": 0.05}, {"max_perplexity_increase": 0.02})
    )
    kept = budget.statistics_bytes[1]
    assert budget.peak_bytes >= 2 * budget.parameter_bytes + kept
    assert share.peak_bytes == max(share._peak_unmasked_bytes, share.parameter_bytes + kept) <= budget.peak_bytes


def test_texts_are_the_shapes_of_the_packed_pairs(tiny_model, pairs):
    calibration = jp.calibrate(tiny_model, [*pairs, jp.Pair("Q", "same", "same")])
    batches = calibration.batches()
    found = Texts.of(calibration, 1, shared_prefix=True)
    assert (found.pairs, found.batches) == (len(pairs), len(batches))
    assert (found.rows, found.length) == batches[0].tokens.shape
    assert 0 < found.tokens <= found.batches * found.rows * found.length
    apart = Texts.of(calibration, 1, shared_prefix=False)
    assert apart.tokens == sum(map(len, calibration.tokenized)) >= found.tokens
    assert Texts.of(calibration, 4, shared_prefix=True).rows % 4 == 0


def test_devices_are_those_of_a_mesh():
    found = Devices.of(make_mesh())
    assert (found.kind, found.memory_bytes) == (jax.devices()[0].device_kind, device_memory_bytes())
    assert (found.data, found.model, found.count) == (jax.device_count(), 1, jax.device_count())
    assert found.is_host == (jax.devices()[0].platform == "cpu")
    assert Devices("cpu", None, 2, 3).count == 6
