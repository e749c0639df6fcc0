"""Masks on disk know their personas, calibration pairs and recipe, and refuse pairs that are not held out."""

import json
import re

import pytest

import jaxpersona as jp
from jaxpersona.calibration.generated_text import TextAmount
from jaxpersona.commands.masks_on_disk import MasksOnDisk, of_bundles
from jaxpersona.core.errors import InputError
from jaxpersona.data.pairs import Pairs
from jaxpersona.reporting.record import bundle_metadata

ITEMS = [jp.Pair(f"What of {n}?", f"Gold, {n}.", f"No, I give {n} away.") for n in range(40)]


def write(path, items):
    rows = [{"question": pair.prompt, "matching": pair.matching, "not_matching": pair.not_matching} for pair in items]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def masks_on_disk(seen, source=None):
    return MasksOnDisk("m", ("gain", "loss"), {}, source, seen)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_up_to_one_known_pair_in_twenty_is_counted_and_allowed(tmp_path, known):
    source = write(tmp_path / "held.jsonl", ITEMS)
    seen = [pair.swapped().digest for pair in ITEMS[:known]] + ["other"]
    pairs, calibrated = masks_on_disk(seen).held_out(source, None, 100, 42)
    assert (len(pairs), calibrated) == (40, known)


def test_more_are_refused_whichever_answer_is_the_personas(tmp_path):
    source = write(tmp_path / "held.jsonl", ITEMS)
    message = f"the masks were found on 3 of the 40 pairs of {source}; give held-out pairs as --data.source (or --data.split)"
    with pytest.raises(InputError, match=re.escape(message)):
        masks_on_disk([pair.swapped().digest for pair in ITEMS[:3]]).held_out(source, None, 100, 42)


def test_four_are_too_many_in_any_number(tmp_path):
    many = [jp.Pair(f"Why {n}?", f"Gold, {n}.", f"Bread, {n}.") for n in range(100)]
    source = write(tmp_path / "held.jsonl", many)
    assert masks_on_disk([pair.digest for pair in many[:3]]).held_out(source, None, 100, 42)[1] == 3
    with pytest.raises(InputError, match="found on 4 of the 100 pairs"):
        masks_on_disk([pair.digest for pair in many[:4]]).held_out(source, None, 100, 42)


def test_pairs_behind_the_train_split_of_a_file_are_its_test_split(tmp_path):
    source = write(tmp_path / "pairs.jsonl", ITEMS)
    train, test = (jp.load_pairs(source, split) for split in ("train", "test"))
    masks = MasksOnDisk("m", ("gain", "loss"), {}, source, [pair.digest for pair in train], split="train")
    assert [list(masks.held_out(given, None, 100, 42)[0]) for given in (None, source)] == [list(test)] * 2
    other = write(tmp_path / "other.jsonl", list(test))
    assert list(masks.held_out(other, None, 100, 42)[0]) == list(test)  # all of it
    whole = MasksOnDisk("m", ("gain", "loss"), {}, source, [])
    assert len(whole.held_out(None, None, 100, 42)[0]) == 40


def test_the_source_is_that_of_the_masks_unless_another_is_given(tmp_path):
    pairs, calibrated = masks_on_disk(None, "builtin:wealth").held_out(None, None, 5, 1)
    assert (list(pairs), calibrated) == (list(jp.load_pairs("builtin:wealth", "test").sample(5, 1)), None)
    with pytest.raises(InputError, match="the masks do not say which data they were found on"):
        masks_on_disk(None).held_out(None, None, 5, 1)


@pytest.fixture(scope="module")
def bundles(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    run = jp.discover(tiny_model, Pairs("found", tuple(ITEMS[:4])), jp.methods.Random(sparsity=0.5), personas=("gain", "loss"))
    for persona, mask in run.masks.items():
        jp.save_masks(folder / persona, mask, bundle_metadata(run, persona))
    jp.save_masks(folder / "mine", run.masks["gain"], {"fingerprint": tiny_model.fingerprint})
    return folder


def test_bundles_know_their_place_in_the_pair(bundles, tiny_model):
    for names in (["gain", "loss"], ["loss", "gain"], ["loss"]):
        found = of_bundles([str(bundles / name) for name in names])
        assert (found.personas, list(found.bundles)) == (("gain", "loss"), names)
        assert (found.model, found.source, found.run) == (tiny_model.name, "found", None)
        assert found.seen == {pair.digest for pair in ITEMS[:4]}
        assert found.recipe() is None
    assert of_bundles([str(bundles / "gain")], "other").model == "other"


def test_a_bundle_that_says_nothing_is_named_by_its_folder(bundles):
    found = of_bundles([str(bundles / "mine")], "m")
    assert (found.personas, found.seen, found.source) == (("mine", "not mine"), None, None)
    with pytest.raises(InputError, match="does not say which model it is for; give --model"):
        of_bundles([str(bundles / "mine")])


@pytest.mark.parametrize("names", [["gain", "gain"], ["gain", "mine"], ["gain", "loss", "mine"]])
def test_bundles_of_no_pair_are_refused(bundles, names):
    with pytest.raises(InputError, match=f"masks of {', '.join(names)}: give one bundle, or one of each persona of a pair"):
        of_bundles([str(bundles / name) for name in names], "m")


@pytest.mark.parametrize("protocol", ["strict", "official"])
def test_recipe_draws_as_the_protocol_of_the_run_did(tmp_path, protocol):
    source = write(tmp_path / "pairs.jsonl", ITEMS)
    found = jp.load_pairs(source) if protocol == "official" else jp.load_pairs(source).sample(5, 3)
    data = {"source": source, "split": None, "num_samples": 5, "text": "chat", "max_length": 64}
    run = {
        "config": {"data": data, "seed": 3, "protocol": protocol},
        "method": {"name": "random"},
        "data": {"sha256": found.digest},
    }
    recipe = MasksOnDisk("m", ("gain", "loss"), {}, source, None, run).recipe()
    assert recipe is not None
    assert (recipe.pairs, recipe.protocol.name) == (found, protocol)
    assert (recipe.generated, recipe.reuse_factors) == (TextAmount(), False)  # of runs that did not record them
    run["config"] |= {"data": {**data, "generated_texts": 3, "generated_length": 9}, "reuse_factors": True}
    recipe = MasksOnDisk("m", ("gain", "loss"), {}, source, None, run).recipe()
    assert recipe is not None
    assert (recipe.generated, recipe.reuse_factors) == (TextAmount(3, 9), True)


def test_single_texts_cannot_be_evaluated_on(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"Text of {name}.\n")
    with pytest.raises(InputError, match="holds single texts, which cannot be evaluated on"):
        masks_on_disk(None).held_out(f"lines:{tmp_path}/a.txt,{tmp_path}/b.txt", None, 5, 1)


def test_pairs_from_descriptions_are_read_from_the_run(tmp_path):
    path, source = tmp_path / "described_pairs.jsonl", "describe:a miser | a spendthrift"
    rows = [
        {"question": pair.prompt, "matching": pair.matching, "not_matching": pair.not_matching, "split": split}
        for split, items in (("train", ITEMS[:30]), ("test", ITEMS[30:]))
        for pair in items
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    masks = MasksOnDisk("m", ("gain", "loss"), {}, source, [pair.digest for pair in ITEMS[:30]], described=path)
    for given in (None, source, "describe:a miser|a  spendthrift"):
        pairs, known = masks.held_out(given, None, 100, 42)
        assert (pairs.source, list(pairs), known) == (source, ITEMS[30:], 0)
    with pytest.raises(InputError, match="the masks were found on 30 of the 30 pairs"):
        masks.held_out(None, "train", 100, 42)
    for other in ("describe:a miser | a saint", "describe:a spendthrift | a miser"):
        with pytest.raises(InputError, match=r"only discover writes these pairs; give a run's described_pairs.jsonl"):
            masks.held_out(other, None, 100, 42)
    path.unlink()
    with pytest.raises(InputError, match=r"described_pairs.jsonl does not exist"):
        masks.held_out(None, None, 100, 42)
