"""The chosen dtypes, and how little bfloat16 statistics change a mask."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from conftest import write_model

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.models.precision import cpu_multiplies_bfloat16, pick_dtypes

F32, BF16 = jnp.dtype("float32"), jnp.dtype("bfloat16")


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ("flags\t\t: fpu avx512_bf16 sse\n", True),
        ("flags : amx_bf16\nflags : amx_bf16\n", True),
        ("flags : avx512f bf16ish\n", False),
        ("processor : 0\n", False),
        (None, False),
    ],
)
def test_cpus_say_whether_they_multiply_bfloat16(tmp_path, contents, expected):
    path = tmp_path / "cpuinfo"
    if contents is not None:
        path.write_text(contents)
    assert cpu_multiplies_bfloat16(path) is expected


@pytest.mark.parametrize(("able", "batches"), [(True, BF16), (False, F32)])
def test_auto_reads_batches_in_what_the_cpu_multiplies(monkeypatch, able, batches):
    monkeypatch.setattr("jaxpersona.models.precision.cpu_multiplies_bfloat16", lambda: able)
    assert pick_dtypes("auto") == (F32, batches)
    assert pick_dtypes("float32") == (F32, F32)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert pick_dtypes("auto") == (BF16, BF16)


def test_unknown_dtypes_are_refused():
    with pytest.raises(InputError, match=r"dtype 'half' is unknown; known: auto, bfloat16, float32"):
        pick_dtypes("half")  # type: ignore


def jaccard_of_dtypes(model, pairs, method):
    masks = {}
    for dtype in (F32, BF16):
        run = jp.discover(dataclasses.replace(model, batch_dtype=dtype), pairs, method, num_samples=8)
        masks[dtype] = run.masks["seek"]
    return jp.jaccard(masks[F32], masks[BF16])


def test_masks_of_bfloat16_statistics_agree_with_those_of_float32(tmp_path, pairs):
    folder = write_model(tmp_path / "wide", hidden_size=128, intermediate_size=256)
    model = jp.load_model(str(folder), dtype="float32")
    assert 0.98 <= jaccard_of_dtypes(model, pairs, jp.methods.Wanda(0.5)) < 1


@pytest.mark.real_model
def test_they_agree_on_a_real_model(smollm):
    assert jaccard_of_dtypes(smollm, jp.load_pairs("builtin:wealth"), jp.methods.Wanda(0.3)) >= 0.98
