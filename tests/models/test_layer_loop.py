"""A streamed computation goes on after a kill, from layer to layer, and ends with the same masks."""

import itertools

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.calibration import generated_text_streamed
from jaxpersona.core import files
from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.methods import taylor
from jaxpersona.methods.methods import FirstOrder, SparseGPT, Steering, Wanda
from jaxpersona.data.neutral_text import read_text
from jaxpersona.models.perplexity import windows
from jaxpersona.models.perplexity_streamed import perplexities

METHODS = {"wanda": Wanda(), "first_order": FirstOrder(max_perplexity_increase=0.03)}


class Killed(BaseException):
    """What stops a computation in these tests."""


@pytest.fixture(scope="module")
def streamed(tiny_folder):
    return lambda: jp.load_streamed(str(tiny_folder), "float32")


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    """Little text of the model's own."""
    write = generated_text_streamed.write
    monkeypatch.setattr(generated_text_streamed, "write", lambda model, **options: write(model, texts=4, length=14, **options))
    monkeypatch.setattr(taylor, "_BUDGET_TOKENS", 512)


def kept_in(folder):
    return {"checkpoints": CheckpointFolder(folder, every_seconds=0)}


@files.contextmanager
def killed_at(monkeypatch, number, when="after"):
    """Stops at the ``number``-th write, before or after it takes effect; nothing that is done on the way out counts."""
    replacing, written = files.replacing, itertools.count(1)

    @files.contextmanager
    def counted(path):
        count = next(written)
        with replacing(path) as temporary:
            yield temporary
            if count == number and when == "before":
                raise Killed
        if count == number:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "replacing", counted)
        yield


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_stopped_at_any_write_a_run_goes_on_to_the_same_masks(streamed, pairs, method, tmp_path, monkeypatch):
    """One run is stopped at its first write, then at the next after that, and so on to the end."""
    monkeypatch.setattr(taylor, "_STEPS", 2)
    expected, stops = jp.discover(streamed(), pairs, method), 0
    for when in itertools.cycle(["after", "before"]):
        try:
            with killed_at(monkeypatch, 1 if when == "after" else 2, when):
                found = jp.discover(streamed(), pairs, method, **kept_in(tmp_path))
            break
        except Killed:
            stops += 1
    assert stops >= 3
    assert same(found.masks, expected.masks)
    assert found.model.fingerprint == expected.model.fingerprint
    if expected.statistics:
        assert found.statistics.digest == expected.statistics.digest


@pytest.mark.parametrize(
    ("method", "write"),
    [(SparseGPT(), 2), (Steering(), 2), (FirstOrder(sparsity=0.03), 20)],
    ids=["sparsegpt", "steering", "share"],
)
def test_other_methods_go_on_too(streamed, pairs, method, write, tmp_path, monkeypatch):
    expected = jp.discover(streamed(), pairs, method)
    with pytest.raises(Killed), killed_at(monkeypatch, write):
        jp.discover(streamed(), pairs, method, **kept_in(tmp_path))
    assert same(jp.discover(streamed(), pairs, method, **kept_in(tmp_path)).masks, expected.masks)


def test_statistics_of_lines_and_a_masked_head_go_on(streamed, pairs, tmp_path, monkeypatch):
    options = {"method": Wanda(), "protocol": "official"}
    expected = jp.discover(streamed(), pairs, **options)
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        jp.discover(streamed(), pairs, **options, **kept_in(tmp_path))
    found = jp.discover(streamed(), pairs, **options, **kept_in(tmp_path))
    assert same(found.masks, expected.masks) and found.statistics.digest == expected.statistics.digest


def test_perplexity_goes_on_where_it_was(streamed, pairs, tmp_path, monkeypatch):
    masks = jp.discover(streamed(), pairs, Wanda(0.4)).masks
    options = {"personas": {"none": None, **masks}, "tokens": windows(streamed(), read_text("builtin:neutral"), 256, 128)}
    expected, checkpoint = perplexities(streamed(), **options), kept_in(tmp_path)["checkpoints"]["perplexity"]
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        perplexities(streamed(), **options, checkpoint=checkpoint)
    steps = []
    found = perplexities(streamed(), **options, checkpoint=checkpoint, progress=lambda *step: steps.append(step))
    assert found == expected and steps == [(2, 3), (3, 3)]


def test_layers_that_are_done_are_not_read_again(streamed, pairs, tmp_path, monkeypatch):
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        jp.discover(streamed(), pairs, Wanda(), **kept_in(tmp_path))
    model = streamed()
    read, seen = type(model)._layer, []
    monkeypatch.setattr(type(model), "_layer", lambda self, number: seen.append(number) or read(self, number))
    jp.discover(model, pairs, Wanda(), **kept_in(tmp_path))
    assert seen == [2]
    assert model.fingerprint == streamed().fingerprint


@pytest.mark.parametrize("damaged", ["mask.safetensors", "arrays/words-layers.mlp.up_proj.kernel.bin"])
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_file_starts_its_stage_anew(streamed, pairs, tmp_path, monkeypatch, caplog, damaged, damage):
    expected = jp.discover(streamed(), pairs, Wanda()).masks
    with pytest.raises(Killed), killed_at(monkeypatch, 2):
        jp.discover(streamed(), pairs, Wanda(), **kept_in(tmp_path))
    path = tmp_path / damaged
    whole = path.read_bytes()
    place = len(whole) // 6  # in the first layer of the first persona
    path.write_bytes(whole[:place] if damage == "cut" else whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert same(jp.discover(streamed(), pairs, Wanda(), **kept_in(tmp_path)).masks, expected)
    assert "damaged" in caplog.text and "computed anew" in caplog.text
