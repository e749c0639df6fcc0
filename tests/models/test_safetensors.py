"""Safetensors are read from one file or shards, with module prefixes and bfloat16; damaged files are refused."""

import contextlib
import json
import shutil

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from jaxpersona import InputError
from jaxpersona.core.tree import flatten
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.safetensors import SafetensorsSource
from jaxpersona.models.weights import check_tensors


def write_shards(folder, tensors, count=3):
    """Distributes the tensors over ``count`` shards and writes the index."""
    names = sorted(tensors)
    files = {name: f"model-{1 + n % count:05}-of-{count:05}.safetensors" for n, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return files


def test_shards_load_as_the_single_file(golden, load, tmp_path):
    model = golden("llama3")
    write_shards(tmp_path, model.tensors)
    sharded = flatten(load(SafetensorsSource(tmp_path), model.config))
    single = flatten(model.params)
    assert list(sharded) == list(single)
    for path, leaf in single.items():
        np.testing.assert_array_equal(sharded[path], leaf)


def test_tensors_are_read_as_stored(golden):
    model = golden("llama2")
    source = SafetensorsSource(model.folder)
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"):
        np.testing.assert_array_equal(source.read(name.removeprefix("model.")), model.tensors[name])
        part = (slice(2, 5), slice(1, None))[: model.tensors[name].ndim]
        np.testing.assert_array_equal(source.read(name.removeprefix("model."), part), model.tensors[name][part])
        assert source.shape(name.removeprefix("model.")) == model.tensors[name].shape


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model.", ""])
def test_multimodal_gemma3_gives_the_logits_of_the_text_model(golden, load, forward, tmp_path, prefix):
    model = golden("gemma3")
    tensors = {name.replace("model.", prefix, 1): value for name, value in model.tensors.items()}
    vision = {"vision_tower.vision_model.embeddings.weight": np.zeros((2, 2), np.float32)}
    save_file({**vision, **tensors}, tmp_path / "model.safetensors")
    config = ModelConfig.from_hf({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": model.hf})
    params = load(SafetensorsSource(tmp_path), config)
    np.testing.assert_allclose(forward(config, {"params": params}, model.tokens), model.logits, rtol=0, atol=5e-4)


def test_a_nested_head_is_found(golden, tmp_path):
    tensors = {f"language_model.{name}": value for name, value in golden("llama2").tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    head = SafetensorsSource(tmp_path).read("lm_head.weight")
    np.testing.assert_array_equal(head, tensors["language_model.lm_head.weight"])


def test_bfloat16_files_load_exactly(golden, load, tmp_path):
    model = golden("llama2")
    narrow = {name: value.astype(ml_dtypes.bfloat16) for name, value in model.tensors.items()}
    save_file(narrow, tmp_path / "model.safetensors")
    for dtype in (np.float32, ml_dtypes.bfloat16):
        params = flatten(load(SafetensorsSource(tmp_path), model.config, dtype))
        kernel = params["layers/mlp/down_proj/kernel"]
        assert kernel.dtype == dtype
        np.testing.assert_array_equal(kernel[1], narrow["model.layers.1.mlp.down_proj.weight"].T.astype(dtype))


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"neither model.safetensors nor model.safetensors.index.json is there; convert"):
        SafetensorsSource(tmp_path)


def test_missing_shards_are_named_and_counted(golden, tmp_path):
    files = sorted(set(write_shards(tmp_path, golden("llama2").tensors).values()))
    for file in files[1:]:
        (tmp_path / file).unlink()
    with pytest.raises(InputError, match=rf"shard {files[1]} is missing \(2 missing in all\); download it again"):
        SafetensorsSource(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[]", "", "[" * 100_000])
def test_a_damaged_index_is_refused(golden, tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=r"index.json: damaged, no weight_map can be read .*; download it again"):
        SafetensorsSource(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_truncated_files_are_refused(golden, tmp_path, size):
    content = (golden("llama2").folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:size])
    with pytest.raises(InputError, match=r"model.safetensors: damaged or truncated .*; download it again"):
        SafetensorsSource(tmp_path)


def test_a_truncated_shard_is_refused_when_it_is_read(golden, load, tmp_path):
    model = golden("llama2")
    file = write_shards(tmp_path, model.tensors)["model.norm.weight"]
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{file}: damaged or truncated"):
        load(SafetensorsSource(tmp_path), model.config)


def test_a_tensor_its_shard_does_not_hold_is_named(golden, tmp_path):
    files = write_shards(tmp_path, golden("llama2").tensors)
    other = next(file for file in files.values() if file != files["model.norm.weight"])
    shutil.copy(tmp_path / other, tmp_path / files["model.norm.weight"])
    with pytest.raises(InputError, match=r"File does not contain tensor model.norm.weight, though .*index.json says so"):
        SafetensorsSource(tmp_path).read("norm.weight")


def test_a_missing_tensor_is_named_with_its_prefix(golden, load, tmp_path):
    model = golden("llama2")
    for name in ("model.layers.2.self_attn.q_proj.weight", "lm_head.weight"):
        kept = {key: value for key, value in model.tensors.items() if key != name}
        save_file(kept, tmp_path / "model.safetensors")
        with pytest.raises(InputError, match=f"tensor {name} is missing; the weights do not fit config.json"):
            load(SafetensorsSource(tmp_path), model.config)


def with_extra(folder, model, **extra):
    tensors = {**model.tensors, **{name.replace("__", "."): value for name, value in extra.items()}}
    save_file(tensors, folder / "model.safetensors")
    return SafetensorsSource(folder)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.q_proj.bias", "model.layers.3.mlp.up_proj.weight", "model.layers.1.mlp.gate_proj.lora_A.weight"],
)
def test_tensors_of_the_layers_are_used_or_refused(golden, tmp_path, name):
    model = golden("llama2")
    source = with_extra(tmp_path, model, **{name: np.ones((2, 2), np.float32)})
    with pytest.raises(InputError, match=rf"tensor {name} does not belong to LlamaForCausalLM as configured \(1 such"):
        check_tensors(source, model.config)


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "vision.layers.0.weight", "score.weight"])
def test_old_buffers_and_other_modules_are_passed_over(golden, tmp_path, name):
    model = golden("llama2")
    check_tensors(with_extra(tmp_path, model, **{name: np.ones(4, np.float32)}), model.config)


def test_a_head_that_is_said_to_be_tied_must_be(golden, tmp_path):
    model = golden("smollm")
    embedding = model.tensors["model.embed_tokens.weight"]
    check_tensors(with_extra(tmp_path, model, lm_head__weight=embedding), model.config)
    for other in (embedding + 1, embedding[:-1], embedding.astype(np.float16)):
        with pytest.raises(InputError, match=r"lm_head.weight is not the embedding; set tie_word_embeddings to false"):
            check_tensors(with_extra(tmp_path, model, lm_head__weight=other), model.config)


def test_a_head_of_another_module_is_not_the_models(golden, load, tmp_path):
    tensors = dict(golden("llama2").tensors)
    tensors["draft.lm_head.weight"] = tensors.pop("lm_head.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"tensor lm_head.weight is missing"):
        load(SafetensorsSource(tmp_path), golden("llama2").config)


def test_of_several_embeddings_that_of_the_model_is_taken(golden, tmp_path):
    model = golden("llama2")
    embedding = model.tensors["model.embed_tokens.weight"]
    source = with_extra(tmp_path, model, draft__embed_tokens__weight=embedding + 1)
    np.testing.assert_array_equal(source.read("embed_tokens.weight"), embedding)
    save_file({"a.embed_tokens.weight": embedding, "b.embed_tokens.weight": embedding}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"holds several models \(a., b.\); give a folder with one"):
        SafetensorsSource(tmp_path)


def test_a_single_file_comes_before_shards_as_in_transformers(golden, tmp_path):
    model = golden("llama2")
    write_shards(tmp_path, {name: value + 1 for name, value in model.tensors.items()})
    source = with_extra(tmp_path, model)
    np.testing.assert_array_equal(source.read("norm.weight"), model.tensors["model.norm.weight"])


def test_stored_bytes_are_those_of_each_tensor(golden, tmp_path):
    model = golden("llama2")
    source = with_extra(tmp_path, model, count=np.array(3, np.uint32), none=np.zeros((0, 2), np.float16))
    for stored in source.tensors():
        value = {**model.tensors, "count": np.array(3, np.uint32), "none": np.zeros((0, 2), np.float16)}[stored.name]
        assert (stored.shape, stored.size) == (value.shape, value.nbytes)
        assert source.raw(stored.name).tobytes() == value.tobytes()


def test_an_index_that_names_shards_elsewhere_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other/model.safetensors"}}))
    with pytest.raises(InputError, match=r"names the file '../other/model.safetensors', which lies outside of it"):
        SafetensorsSource(tmp_path)


BITS = {"F64": 64, "F32": 32, "BF16": 16, "I8": 8, "F8_E4M3": 8, "F8_E8M0": 8, "BOOL": 8, "U16": 16, "C64": 64, "F4": 4}
UP = "layers.0.mlp.up_proj"
ENDS = ("weight", "weight_scale", "weight_scale_inv", "SCB", "weight_format")
NAMES = ["embed_tokens.weight", *(f"{UP}.{end}" for end in ENDS)]
TENSORS = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from([*BITS]), st.lists(st.integers(0, 4), max_size=3)), max_size=4
)
ODD = st.sampled_from([-1, 0, 1, 3, 2**31, 2**63, 2**64, 10**30, 1e400, 1.5, True, None, "4", [], {}, [[]], "F32", "F4", "Q8"])
BLOCKS = st.none() | st.lists(st.sampled_from([-1, 0, 1, 2, 10**12, 1.5, "2"]), max_size=3) | st.just({})


@st.composite
def files(draw):
    """Returns content: of a sound file, or with fields of its header, its bytes or its length changed; or any bytes."""
    header, end = {}, 0
    for name, (dtype, shape) in draw(TENSORS).items():
        size = int(np.prod(shape, dtype=int)) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    for entry in draw(st.lists(st.sampled_from([*header.values()]), max_size=1)) if header else ():
        place = entry[draw(st.sampled_from(["shape", "data_offsets"]))]
        place[draw(st.integers(0, len(place))) :] = draw(st.lists(ODD, max_size=2))
        entry[draw(st.sampled_from([*entry, "more"]))] = draw(ODD)
    text = json.dumps(header).encode()
    size = draw(st.just(len(text)) | st.sampled_from([0, 2**40, 2**64 - 1]))
    content = size.to_bytes(8, "little") + text + bytes([draw(st.sampled_from([0, 1, 127, 255]))]) * end
    return content[: draw(st.just(len(content)) | st.integers(0, len(content)))]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=files() | st.binary(max_size=40), block=BLOCKS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that are not finite
def test_damaged_files_are_refused_or_read(tmp_path, content, block):
    """Reads whatever a file holds: an InputError, or the numbers that its bytes are."""
    (tmp_path / "model.safetensors").write_bytes(content)
    try:
        source = SafetensorsSource(tmp_path, {"weight_block_size": block})
    except InputError:
        return
    for stored in source.tensors():
        raw = source.raw(stored.name).tobytes()
        assert len(raw) == stored.size <= len(content) and raw in content
        for read in (source.shape, source.read, source.values):
            with contextlib.suppress(InputError):
                found = read(stored.name)
                assert tuple(getattr(found, "shape", found)) == stored.shape
                assert read is not source.values or found.tobytes() == raw
    with contextlib.suppress(InputError):
        source.unread([])
