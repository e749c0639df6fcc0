"""Sets of a sweep differ in data and seeds, and each has a folder of its own."""

import pytest

from jaxpersona.commands.sweep_config import SweepConfig
from jaxpersona.commands.sweep_sets import sweeps_of
from jaxpersona.core.errors import InputError


def test_without_sets_there_is_the_sweep_as_given():
    config = SweepConfig()
    assert sweeps_of(config) == {config.data.source: config}


def test_each_set_has_its_folder_and_what_it_does_not_say_is_common():
    own = {"source": "pairs/own.csv", "held_out": "pairs/test.csv", "seeds": [7], "name": "mine"}
    config = SweepConfig(sets=["builtin:power", "pairs/b.csv", own], output_dir="runs/sweep", seeds=[1, 2])
    power, b, mine = sweeps_of(config).values()
    assert [(sweep.data.source, sweep.output_dir) for sweep in (power, b, mine)] == [
        ("builtin:power", "runs/sweep/power"),
        ("pairs/b.csv", "runs/sweep/b"),
        ("pairs/own.csv", "runs/sweep/mine"),
    ]
    assert (mine.held_out.source, mine.seeds) == ("pairs/test.csv", [7])
    assert (power.held_out.source, power.seeds, power.sets) == (config.held_out.source, [1, 2], None)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["a/x.csv", "b/x.csv"], "sets: two of them are called 'x'; give one a name"),
        ([{"held_out": "x.csv"}], "give source, and optionally held_out, seeds, name"),
        ([{"source": "x.csv", "seed": 1}], "give source, and optionally held_out, seeds, name"),
        ([{"source": 3}], "source is 3; expected str"),
        ([{"source": "x.csv", "seeds": "x"}], "seeds is 'x'; expected "),
        ([{"source": "x.csv", "name": "../y"}], "sets: '../y' is no name of a folder; give a name without slashes"),
        ([{"source": "x.csv", "name": ".."}], r"sets: '\.\.' is no name of a folder"),
        ([], "sets is empty; give at least one, or leave it out"),
    ],
)
def test_sets_that_cannot_be_told_apart_or_read_are_refused(sets, message):
    with pytest.raises(InputError, match=message):
        sweeps_of(SweepConfig(sets=sets))
