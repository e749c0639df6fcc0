"""Plans: what fits, what is refused, and how they grow with model, data and mesh."""

import dataclasses

import pytest
from discovery.test_costs import SIZES, shape_of

import jaxpersona as jp
from jaxpersona.core.accelerators import KNOWN
from jaxpersona.core.errors import InputError
from jaxpersona.discovery import costs, plan
from jaxpersona.discovery.plan import Devices, Texts
from jaxpersona.models.config import ModelConfig, Rope

LLAMA_8B = ModelConfig("LlamaForCausalLM", 128256, 4096, 14336, 32, 32, 8, 128, 8192, 1e-5, Rope())
TEXTS = Texts(pairs=128, tokens=13_000, batches=4, rows=16, length=256)
WANDA, FIRST_ORDER = jp.methods.Wanda(), jp.methods.FirstOrder()


def of(method=WANDA, kind="h200", data=1, model=1, config=LLAMA_8B, texts=TEXTS, **options):
    return plan.plan(config, method, texts, Devices(KNOWN[kind], data, model), **options)


def test_numbers_of_a_known_model():
    found = of()
    assert costs.parameters(LLAMA_8B) == 8_030_261_248
    assert costs.maskable(LLAMA_8B) == 6_979_321_856
    assert found.parameter_bytes == 2 * 8_030_261_248
    assert found.written_bytes == 2 * 6_979_321_856 / 8
    assert (found.forward_passes, found.backward_passes) == (4, 0)
    (calibrate,) = [stage for stage in found.stages if stage.name == "calibrate"]
    assert calibrate.flops == pytest.approx(2 * 6.979e9 * 16384, rel=0.05)
    assert calibrate.seconds == calibrate.flops / 989e12
    assert found.seconds == sum(stage.seconds for stage in found.stages)


def test_what_fits_is_planned_and_what_does_not_is_refused():
    of(kind="h200").check()
    message = r"a device \(TPU v5e\) needs \d+.\d GB and has 16.0 GB; use stream_layers true or a mesh.model above 1 or a smaller"
    with pytest.raises(InputError, match=message):
        of(kind="tpu v5 lite").check()
    with pytest.raises(InputError, match=r"use model.dtype bfloat16 or stream_layers true"):
        of(kind="tpu v5 lite", itemsize=4).check()
    of(kind="tpu v5 lite", data=4, model=4).check()
    with pytest.raises(InputError, match=r"a mesh.model above 4"):
        of(FIRST_ORDER, kind="tpu v5 lite", data=4, model=4).check()


def test_leaving_perplexity_out_is_advised_where_it_helps():
    shared = Devices(dataclasses.replace(KNOWN["tpu v5 lite"], memory_bytes=24 * 10**9))
    with pytest.raises(InputError, match=r"use perplexity.max_tokens 0 or stream_layers true"):
        plan.plan(LLAMA_8B, WANDA, TEXTS, shared).check()
    plan.plan(LLAMA_8B, WANDA, TEXTS, shared, perplexity_tokens=0).check()


def test_the_host_is_refused_too(monkeypatch):
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: 10**9)
    with pytest.raises(InputError, match=r"this machine needs \d.\d GB and has 1.0 GB; use stream_layers true"):
        of().check()
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: None)
    of().check()


def test_on_a_cpu_devices_are_the_host(monkeypatch):
    devices = Devices(dataclasses.replace(KNOWN["h200"], memory_bytes=1), 2, 1, is_host=True)
    found = plan.plan(LLAMA_8B, WANDA, TEXTS, devices)
    assert found.peak_host_bytes > 2 * found.peak_bytes
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: int(found.peak_host_bytes) + 1)
    found.check()


@pytest.mark.parametrize("method", [WANDA, jp.methods.SparseGPT(), FIRST_ORDER, jp.methods.Magnitude()], ids=lambda m: m.name)
def test_shares_shrink_with_the_mesh_and_work_stays(method):
    one, split = of(method), of(method, data=2, model=4)
    assert split.parameter_bytes < one.parameter_bytes / 3.9
    assert split.peak_bytes < one.peak_bytes
    for alone, shared in zip(one.stages, split.stages, strict=True):
        assert shared.name == alone.name and shared.flops <= alone.flops
        assert alone.sent_bytes == 0
    assert sum(stage.sent_bytes for stage in split.stages) > 0


def test_streaming_holds_two_layers():
    config = shape_of(**{**SIZES[0], "num_layers": 64})
    resident, streamed = of(config=config), of(config=config, stream_layers=True)
    assert streamed.parameter_bytes < resident.parameter_bytes / 10
    assert streamed.peak_bytes < resident.peak_bytes


def test_budgets_cost_their_measurement():
    share, budget = (of(jp.methods.FirstOrder(**options)) for options in ({"sparsity": 0.05}, {"max_perplexity_increase": 0.02}))
    assert [stage.name for stage in share.stages] == ["load", "perplexity", "calibrate", "write own text", "mask", "save"]
    assert budget.stages[4].flops > share.stages[4].flops
