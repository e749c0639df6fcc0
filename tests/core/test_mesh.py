"""A mesh changes where things are computed, not what: masks, statistics and logits beside those of a single device."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from on_many_devices import METHODS, measure, pairs
from several_processes import HERE, environment, on_two_processes

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.commands.discover import main
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.shared_config import MeshOptions
from jaxpersona.core import mesh
from jaxpersona.core.tree import flatten

ONE = mesh.make_mesh(1, 1)
SCRIPT = (sys.executable, str(HERE / "on_many_devices.py"))


def on_eight_devices(*arguments, flags=""):
    fresh = {"JAX_ENABLE_COMPILATION_CACHE": "false"} if flags else {}  # what is not compiled is not dumped
    subprocess.run([*SCRIPT, *map(str, arguments)], env=environment(8, flags, **fresh), check=True, timeout=900)


@pytest.fixture(scope="session")
def alone(tiny_model):
    return measure(tiny_model, METHODS)


def assert_same(found, alone):
    """Masks but for near-ties, numbers within rounding."""
    both = either = 0
    for name in found.files:
        ours, theirs = found[name], alone[name]
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
        if ours.dtype == np.uint16:
            both += np.bitwise_count(ours & theirs).sum()
            either += np.bitwise_count(ours | theirs).sum()
        elif ours.dtype.kind == "U":
            assert ours == theirs, name
        else:
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5 * np.abs(theirs).max(), err_msg=name)
    assert either > 0
    assert both / either >= 0.9999


SHAPES = {
    (8, 1): "wanda,first_order",
    (4, 2): "wanda,contrastive_sparse,random",
    (2, 4): "wanda,contrastive_sparse,first_order,sparsegpt",
    (1, 8): "wanda,first_order",
}


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
def test_eight_devices_find_what_one_finds(tiny_folder, tmp_path, alone, shape):
    programs = tmp_path / "programs"
    flags = f"--xla_dump_to={programs} --xla_dump_hlo_as_text" if shape[1] >= 4 else ""
    on_eight_devices("measure", tiny_folder, tmp_path / "found.npz", *shape, SHAPES[shape], flags=flags)
    with np.load(tmp_path / "found.npz") as found:
        assert_same(found, alone)
    if flags:
        assert_none_holds_a_whole_kernel(programs)


def assert_none_holds_a_whole_kernel(folder):
    """In no compiled program has an array on a device the dimensions of an MLP kernel, [in, out] or turned."""
    programs = [path for path in folder.glob("*after_optimizations.txt") if "jit__decode" not in path.name]  # 48 texts there
    assert len(programs) > 10
    whole = re.compile(r"\b\w+\[(?:\d+,)*(?:32,48|48,32)\]")
    holders = {path.name: whole.search(path.read_text()) for path in programs}
    assert not {name: hit.group() for name, hit in holders.items() if hit}
    assert any(re.search(r"\b\w+\[(?:\d+,)*(?:32,6|6,32|32,12|12,32)\]", path.read_text()) for path in programs)


def test_bundles_are_read_on_other_devices_than_they_were_written_on(tiny_folder, tiny_model, tmp_path):
    masks = jp.discover(tiny_model, pairs(), METHODS["random"]).masks["seek"]
    jp.save_masks(tmp_path / "alone", masks, {"fingerprint": tiny_model.fingerprint})
    on_eight_devices("bundles", tiny_folder, tmp_path)
    for name in ("2x4", "8x1"):
        assert_equal(jp.load_masks(tmp_path / name, tiny_model), masks)


def assert_equal(found, expected):
    assert found.rows == expected.rows and found.others == expected.others
    for path, words in expected.words.items():
        np.testing.assert_array_equal(found.words[path], words)


def test_a_process_reads_the_shards_of_its_devices_alone(tiny_folder, tmp_path):
    printed, statuses = on_two_processes(*SCRIPT, "read", tiny_folder, tmp_path / "found")
    assert statuses == [0, 0], printed
    for index in (0, 1):
        with np.load(tmp_path / f"found.{index}.npz") as found:
            assert found["processes"] == 2
            assert found["read"] == found["held"]
            assert 0.5 <= found["read"] / found["all"] < 0.52  # norms are whole everywhere


def test_discover_in_two_processes_finds_what_it_finds_in_one(tiny_folder, tmp_path):
    """Not ``first_order``, whose processes can wait for each other for ever on busy CPUs (docs/distributed.md)."""
    options = ["--model.name", tiny_folder, "--model.dtype", "float32", "--data.num_samples", 12]
    options += ["--method.name", "wanda", "--method.sparsity", 0.4]
    options += ["--perplexity.max_tokens", 512, "--check.num_samples", 4, "--check.controls", "false"]
    main(cli.parse("discover", DiscoverConfig, list(map(str, [*options, "--output_dir", tmp_path / "one"]))))
    discover = sys.executable, "-m", "jaxpersona.discover"
    printed, statuses = on_two_processes(*discover, *options, "--output_dir", tmp_path / "two", "--mesh.model", 2)
    assert statuses == [0, 0], printed
    assert "Written:" in printed[0][0] and "Written:" not in printed[1][0]
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
    one, two = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert one["model"]["fingerprint"] == two["model"]["fingerprint"]
    assert two["perplexity"] == pytest.approx(one["perplexity"], rel=1e-5)
    for persona in one["masks"]:
        ours, theirs = (jp.load_masks(tmp_path / name / "masks" / persona) for name in ("two", "one"))
        assert jp.jaccard(ours, theirs) >= 0.9999
    assert_same_evaluation(tmp_path / "one", tmp_path / "two")


def assert_same_evaluation(one, two):
    one, two = (json.loads((folder / "evaluation.json").read_text())["results"] for folder in (one, two))
    assert len(one) == len(two) > 3
    for ours, theirs in zip(two, one, strict=True):
        assert ours["answer_nll"] == pytest.approx(theirs["answer_nll"], rel=1e-5)
        assert ours["accuracy"] == theirs["accuracy"]


def test_a_single_device_has_no_mesh(tiny_model):
    assert tiny_model.mesh is None
    assert mesh.row_multiple(None) == 1
    kernel = tiny_model.params["layers"]["mlp"]["up_proj"]["kernel"]
    assert mesh.by_output(kernel) is kernel
    assert mesh.make_mesh().size == 1
    batch = {"tokens": np.zeros((2, 3))}
    assert mesh.place_rows(batch, None) is batch


@pytest.mark.parametrize(("data", "model"), [(2, None), (None, 2), (3, 5)])
def test_a_mesh_of_other_devices_than_there_are_is_refused(data, model):
    with pytest.raises(jp.InputError, match=r"mesh of data \d x model \d needs \d+ devices, there are 1; give numbers"):
        mesh.make_mesh(data, model)


@pytest.mark.parametrize("key", ["data", "model"])
def test_no_mesh_has_less_than_one_device(key):
    with pytest.raises(jp.InputError, match=rf"mesh\.{key} is 0; give at least 1"):
        MeshOptions(**{key: 0})


def test_rules_split_every_kernel_and_embedding_and_nothing_that_is_added_after_a_sum(tiny_model):
    specs = {path: sharding.spec for path, sharding in flatten(mesh.shardings(tiny_model.params, ONE)).items()}
    split = {path for path, spec in specs.items() if "model" in spec}
    assert split == {path for path in specs if path.endswith(("/kernel", "/embedding"))}
    assert specs["layers/mlp/up_proj/kernel"] == PartitionSpec(None, None, "model")
    assert specs["layers/mlp/down_proj/kernel"] == PartitionSpec(None, "model", None)
    assert mesh.sharding_of("layers/self_attn/q_proj/bias", (3, 32), ONE).spec == PartitionSpec(None, "model")
    assert mesh.sharding_of("layers/self_attn/o_proj/bias", (3, 32), ONE).spec == PartitionSpec()


def test_dimensions_that_do_not_divide_stay_whole():
    seven = jax.sharding.AbstractMesh((1, 7), mesh.AXES)
    assert mesh._fitting(seven, (3, 32, 49), PartitionSpec(None, None, "model")).spec[2] == "model"
    assert mesh._fitting(seven, (3, 32, 48), PartitionSpec(None, None, "model")).spec[2] is None
    assert mesh._fitting(seven, (3, 14), PartitionSpec(None, ("model", "data"))).spec[1] == ("model", "data")
