"""Discovery is timed by stage, and masks are compared with PyTorch's."""

import pathlib

import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.benchmarks import discover
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.core import files
from jaxpersona.models.sites import kernels
from jaxpersona.models.weights import hf_name


def test_stages_of_every_method(tiny_folder, pairs_file, in_process):
    config = BenchmarkConfig(
        model=str(tiny_folder),
        data=pairs_file,
        num_samples=4,
        methods=["wanda", "magnitude"],
        dtype="float32",
        repeats=1,
        baseline=False,
    )
    rows = {row.name.removeprefix("discover/"): row for row in discover.run(config).rows}
    for name in ("wanda, cold", "wanda, warm", "magnitude, warm"):
        for what in ("process", "import", "load", "mask", "save", "peak memory"):
            assert f"{name}: {what}" in rows
        assert (f"{name}: calibrate" in rows) == name.startswith("wanda")  # magnitude needs no statistics
    assert rows["wanda, warm: process"].baseline is None
    assert rows["magnitude, warm: process"].baseline == rows["wanda, warm: process"].value
    assert rows["bytes of both masks"].value > 0


def test_taylor_has_a_sparsity_of_its_own(tmp_path):
    config = BenchmarkConfig(sparsity=0.4)
    sparsities = {"wanda": 0.4, "taylor": 0.03, "first_order": 0.03}
    for method, sparsity in sparsities.items():
        assert f"--method.sparsity={sparsity}" in discover._arguments(config, method, tmp_path, tmp_path, keeps=False)


def test_only_the_next_persona_finds_kept_factors(tiny_folder, pairs_file, in_process, monkeypatch):
    kept = []

    def main(config):
        folder = files.cache_folder() / "factors"
        kept.append((config.reuse_factors, folder.is_dir()))
        folder.mkdir(parents=True, exist_ok=True)
        (pathlib.Path(config.output_dir) / "masks").mkdir(parents=True, exist_ok=True)
        (pathlib.Path(config.output_dir) / "run.json").write_text('{"seconds": {"calibrate": 1.0}}')

    monkeypatch.setenv("JAXPERSONA_CACHE", "of the user")
    monkeypatch.setattr(discover.discover, "main", main)
    options = {"num_samples": 4, "methods": ["taylor"], "repeats": 2, "baseline": False}
    rows = {row.name for row in discover.run(BenchmarkConfig(model=str(tiny_folder), data=pairs_file, **options)).rows}
    assert {f"discover/taylor, {state}: calibrate" for state in ("cold", "warm", "next")} <= rows
    assert kept == [(True, False), (False, True), (True, True)] * 2  # cold, warm and next
    assert not pathlib.Path("of the user").exists()


def test_agreement_is_the_jaccard_overlap(tiny_model, pairs, tmp_path):
    run = jp.discover(tiny_model, pairs, jp.methods.Wanda(0.5))
    first = run.masks["seek"]
    jp.save_masks(tmp_path / "ours" / "seek", first, {})
    (tmp_path / "files" / "seek").mkdir(parents=True)
    for path, kept in kernels(run.masks["reject"].to_bool()).items():
        for layer, mask in enumerate(np.asarray(kept)):
            np.save(tmp_path / "files" / "seek" / f"model.{hf_name(path, layer).removesuffix('.weight')}.npy", mask.T)
    overlap = discover.agreement(tmp_path / "ours", tmp_path / "files")
    assert overlap == pytest.approx(jp.jaccard(*run.masks.values())) and overlap < 1
