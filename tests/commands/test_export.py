"""The command ``export`` writes a folder that loads as the masked model, or refuses with one line."""

import json
import shutil

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import same, write_model
from exporters.test_gguf_file import with_merges
from safetensors import safe_open

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.commands.discover import main as discover
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.export import main
from jaxpersona.commands.export_config import ExportConfig
from jaxpersona.core.tree import flatten
from jaxpersona.exporters.shira import read_shira

TOKENS = jnp.arange(40).reshape(2, 20)


def make_run(folder, model, **options):
    defaults = {"model.name": model, "model.dtype": "float32", "data.num_samples": 3, "method.name": "wanda"}
    options = defaults | {"output_dir": folder} | options
    discover(cli.parse("discover", DiscoverConfig, [f"--{key}={value}" for key, value in options.items()]))
    return folder


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("export") / "run", tiny_folder, **{"perplexity.max_tokens": 0})


def export(run, target, persona="seek", **options):
    options = {"run": run, "persona": persona, "output_dir": target, "format": "hf", **options}
    main(cli.parse("export", ExportConfig, [f"--{key}={value}" for key, value in options.items()]))
    return target


def assert_same_model(folder, expected):
    found = jp.load_model(str(folder), "float32")
    jax.tree.map(np.testing.assert_array_equal, flatten(found.params), flatten(expected))
    return found


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_the_folder_is_the_model_under_the_mask(run, tiny_model, tmp_path, capsys, gamma):
    masks = jp.load_masks(run / "masks" / "seek", tiny_model)
    expected = jp.apply_mask(tiny_model.params, masks, gamma)
    found = assert_same_model(export(run, tmp_path / "new" / "seek", gamma=gamma), expected)
    logits = [model.apply({"params": params}, TOKENS) for model, params in ((found, found.params), (tiny_model, expected))]
    np.testing.assert_array_equal(*logits)
    assert "model.safetensors" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["seek"]
    assert found.tokenizer.chat_template == tiny_model.tokenizer.chat_template


def test_persona_none_is_the_base_model(run, tiny_model, tmp_path):
    assert_same_model(export(run, tmp_path / "none", "none"), tiny_model.params)


def test_large_models_come_in_shards_with_an_index(tmp_path):
    """Writes two and a half megabytes into files of at most one."""
    model = write_model(tmp_path / "model", hidden_size=128, intermediate_size=256, num_hidden_layers=4)
    run = make_run(tmp_path / "run", model, **{"perplexity.max_tokens": 0, "method.name": "magnitude"})
    folder = export(run, tmp_path / "out", shard_mb=1)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == sorted(set(index["weight_map"].values())) and 2 < len(files) < 8
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert all((folder / file).stat().st_size < 1.1e6 for file in files)
    whole = jp.load_model(str(model), "float32")
    assert index["metadata"]["total_size"] == sum(leaf.nbytes for leaf in jax.tree.leaves(whole.params))
    assert_same_model(folder, jp.apply_mask(whole.params, jp.load_masks(run / "masks" / "seek", whole)))


def test_updated_weights_and_a_masked_head(tiny_folder, tiny_model, tmp_path):
    for name, options in (
        ("update", {"method.name": "sparsegpt", "method.update": "true"}),
        ("head", {"method.name": "wanda", "protocol": "official"}),
    ):
        run = make_run(tmp_path / f"{name} run", tiny_folder, **{"perplexity.max_tokens": 0, **options})
        persona = jp.load_masks(run / "masks" / "reject", tiny_model)
        assert_same_model(export(run, tmp_path / name, "reject", gamma=0.5), jp.apply_mask(tiny_model.params, persona, 0.5))


def test_weights_keep_their_dtype_and_unknown_tensors(tmp_path):
    """Uses tensor names as in multimodal Gemma 3: another prefix, and tensors that the decoder does not read."""
    from safetensors.numpy import load_file, save_file

    folder = write_model(tmp_path / "model")
    tensors = {
        name.replace("model.", "language_model.model.", 1): t for name, t in load_file(folder / "model.safetensors").items()
    }
    tensors = {name: tensor.astype(jnp.bfloat16) for name, tensor in tensors.items()}
    save_file({**tensors, "vision.weight": np.arange(6).reshape(2, 3)}, folder / "model.safetensors")
    run = make_run(tmp_path / "run", folder, **{"perplexity.max_tokens": 0, "method.name": "magnitude"})
    with safe_open(export(run, tmp_path / "out") / "model.safetensors", "numpy") as written:
        assert set(written.keys()) == {*tensors, "vision.weight"}
        assert written.get_slice("language_model.model.layers.0.mlp.up_proj.weight").get_dtype() == "BF16"
        np.testing.assert_array_equal(written.get_tensor("vision.weight"), np.arange(6).reshape(2, 3))
        up = written.get_tensor("language_model.model.layers.1.mlp.up_proj.weight")
        assert 0.25 < (up == 0).mean() < 0.35
        kept = up != 0
        np.testing.assert_array_equal(up[kept], tensors["language_model.model.layers.1.mlp.up_proj.weight"][kept])


def finish(capsys, monkeypatch, *argv):
    with pytest.raises(SystemExit) as left:
        cli.main("export", argv)
    return left.value.code, capsys.readouterr().err


def test_bad_input_is_one_line(run, tiny_folder, tmp_path, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    good = {"run": run, "persona": "seek", "output_dir": tmp_path / "out"}
    for changes, message in (
        ({"output_dir": tmp_path / "full"}, "full exists and is not empty; choose another"),
        ({"output_dir": "/dev/null/x"}, "output_dir /dev/null/x cannot be written"),
        ({"persona": "greed"}, "persona 'greed' is unknown; known: none, reject, seek"),
        ({"run": tmp_path}, "contains no run"),
        ({"gamma": 1}, "gamma is 1"),
        ({"format": "onnx"}, "config key 'format' is 'onnx'"),
        ({"format": "lora"}, "a lora needs its rank; give it, as in --rank 64"),
        ({"format": "lora", "rank": 17}, "rank is 17; model.layers.0.self_attn.k_proj is (16, 32), give at most 16"),
        ({"format": "gguf"}, "the tokenizer has no merges; export with --format hf"),
        (
            {"format": "shira", "persona": "none"},
            "none is the base model, for which shira has no place; export with --format hf or",
        ),
        (
            {"format": "control-vector"},
            "seek is masks, for which control-vector has no place; export with --format hf or gguf or",
        ),
        ({"persona": "2*seek"}, "the share of persona 'seek' is 2.0; it must lie in [0, 1]"),
        ({"format": "pt", "output_dir": tmp_path / "full"}, "full exists and is not empty; choose another"),
        ({"shard_mb": 0}, "shard_mb is 0; give at least 1"),
    ):
        status, err = finish(capsys, monkeypatch, *(f"--{key}={value}" for key, value in {**good, **changes}.items()))
        assert (status, "Traceback" in err) == (2, False) and message in err
    assert {path.name for path in tmp_path.iterdir()} == {"full"}


def test_masks_alone_as_safetensors_and_pt(run, tiny_model, tmp_path, capsys):
    masks = jp.load_masks(run / "masks" / "seek", tiny_model)
    for form in ("safetensors", "pt"):
        assert same(jp.load_masks(export(run, tmp_path / form, format=form), tiny_model), masks)
    assert "model.layers.0.mlp.up_proj.weight.pt" in capsys.readouterr().out
    header = safe_open(tmp_path / "safetensors" / "masks.safetensors", "numpy").metadata()
    about = json.loads(header["about"])
    assert (about["persona"], about["fingerprint"], about["method"]["name"]) == ("seek", tiny_model.fingerprint, "wanda")


def test_a_mixture_is_exported_as_generate_mixes_it(run, tiny_model, tmp_path):
    seek, reject = (jp.load_masks(run / "masks" / name, tiny_model) for name in ("seek", "reject"))
    folder = export(run, tmp_path / "mixed", "0.7*seek+0.3*reject")
    assert_same_model(folder, jp.apply_mask(tiny_model.params, jp.mix({seek: 0.7, reject: 0.3})))


def test_adapters_name_their_rank_and_base(run, tiny_model, tmp_path, capsys):
    export(run, tmp_path / "lora", format="lora", rank=8)
    assert "Rank 8 holds" in capsys.readouterr().out
    export(run, tmp_path / "shira", format="shira")
    assert "r is 6. It fits the weights of tiny only; --persona none --format hf writes them" in capsys.readouterr().out
    assert same(read_shira(tmp_path / "shira", tiny_model), jp.load_masks(run / "masks" / "seek", tiny_model))


def test_gguf_and_control_vector(tmp_path, capsys):
    model = with_merges(write_model(tmp_path / "model"))
    options = {"perplexity.max_tokens": 0, "data.num_samples": 3}
    run = make_run(tmp_path / "run", model, **options, **{"method.name": "magnitude"})
    folder = export(run, tmp_path / "gguf", format="gguf", outtype="f32", gamma=0.5)
    whole = jp.load_model(str(model), "float32")
    expected = jp.apply_mask(whole.params, jp.load_masks(run / "masks" / "seek", whole), 0.5)
    found = jp.load_model(str(folder / "model-f32.gguf"), "float32")
    jax.tree.map(np.testing.assert_array_equal, flatten(found.params), flatten(expected))
    steered = make_run(tmp_path / "steered", model, **options, **{"method.name": "steering", "method.layer": 1})
    export(steered, tmp_path / "vector", format="control-vector")
    [stored] = gguf.GGUFReader(tmp_path / "vector" / "control_vector.gguf").tensors
    vectors = np.asarray(jp.load_masks(steered / "masks" / "seek", whole).vectors)
    np.testing.assert_array_equal(stored.data, vectors[1])


def test_steering_and_other_weights_are_refused(tmp_path, capsys, monkeypatch):
    model = write_model(tmp_path / "model")
    run = make_run(tmp_path / "run", model, **{"perplexity.max_tokens": 0, "method.name": "steering"})
    options = [f"--run={run}", "--persona=seek", f"--output_dir={tmp_path / 'out'}"]
    status, err = finish(capsys, monkeypatch, *options)
    assert status == 2 and "seek is a steering vector, for which hf has no place; export with --format control-vector" in err
    shutil.rmtree(model)
    write_model(model, seed=3)
    status, err = finish(capsys, monkeypatch, *options)
    assert status == 2 and "with other weights" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["interrupt", "disk full"])
def test_a_failure_leaves_nothing(run, tmp_path, monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("jaxpersona.exporters.hf_folder.under", fail)
    with pytest.raises((jp.InputError, KeyboardInterrupt)):
        export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
