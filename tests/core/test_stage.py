"""Stages report progress under their name, and sums and folds resume from their checkpoint."""

import jax
import numpy as np
from conftest import Killed
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.core.checkpoints import CheckpointFolder
from jaxpersona.core.stage import QUIET, Stage, fold, summed


def add(a, b):
    return jax.tree.map(np.add, a, b)


def test_a_quiet_stage_reports_and_keeps_nothing():
    QUIET.progress(1, 2)
    QUIET.save({"a": 1})
    QUIET.offer({"a": 1})
    assert QUIET.load() is None and QUIET.part("stage").load() is None and QUIET.arrays is None
    assert QUIET.part("stage").once(lambda: {"a": 1}) == {"a": 1}


def test_parts_report_under_the_names_of_all_their_stages(tmp_path):
    seen = []
    stage = Stage(lambda *step: seen.append(step), CheckpointFolder(tmp_path), "calibrate")
    stage.part("moments").progress(1, 3)
    silent = stage.part("moments").without_progress()
    silent.progress(2, 3)
    assert seen == [("calibrate, moments", 1, 3)]
    silent.save({"x": 1.0})
    assert stage.part("moments").load() == {"x": 1.0} and stage.load() is None
    assert silent.arrays == tmp_path / "arrays"


def test_work_is_done_once(tmp_path):
    calls = []
    for _ in range(2):
        stage = Stage(store=CheckpointFolder(tmp_path), name="work")
        assert stage.once(lambda: calls.append(1) or {"x": 2}) == {"x": 2}
    assert calls == [1]


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6), st.integers(0, 6))
@settings(deadline=None, max_examples=30)
def test_sums_resume_where_they_stopped(tmp_path_factory, numbers, stop):
    seen, steps = [], []
    store = CheckpointFolder(tmp_path_factory.mktemp("sums"), every_seconds=0)
    stage = Stage(lambda name, *step: steps.append(step), store, "sum")

    def sums(number):
        if len(seen) == stop:
            raise Killed
        seen.append(number)
        return {"x": np.array([number])}

    try:
        found = summed(numbers, sums, stage, add)
    except Killed:
        steps.clear()
        found, stop = None, min(stop, len(numbers))
    if found is None:
        done, stop = stop, -1
        found = summed(numbers, sums, stage, add)
        assert steps == [(number, len(numbers)) for number in range(done, len(numbers) + 1)]
    assert seen == numbers
    assert found["x"].tolist() == [sum(numbers)]


def test_a_fold_passes_its_result_from_item_to_item():
    items = [2.0, 3.0, 5.0]
    found = fold(items, lambda total, item: {"x": np.array(item if total is None else 10 * total["x"] + item)})
    assert found["x"] == 235
