"""The cells of a sweep: products of methods, budgets, sizes and seeds, with controls and baselines."""

import pytest

from jaxpersona.core.errors import InputError
from jaxpersona.evaluation.sweep.grid import plan

WANDA = {"name": "wanda", "sparsity": [0.1, 0.3]}
BUDGETED = {"name": "first_order", "max_perplexity_increase": [0.01]}


def places(cells):
    return [(cell.kind, cell.label, cell.budget, cell.num_samples, cell.seed, cell.controls) for cell in cells]


def test_cells_are_the_product_of_methods_budgets_sizes_and_seeds_and_the_base():
    cells = plan([WANDA, BUDGETED], [16, 8], [1, 2])
    budgets = [("wanda", "sparsity=0.1"), ("wanda", "sparsity=0.3"), ("first_order", "max_perplexity_increase=0.01")]
    product = [("method", *budget, size, seed, False) for seed in (1, 2) for size in (8, 16) for budget in budgets]
    assert places(cells) == [("base", "none", "", 16, 1, False), *product]
    assert cells[1].method.sparsity == 0.1


def test_controls_are_of_the_first_seed_and_largest_size_and_once_for_a_budget():
    entries = [WANDA, {"name": "wanda", "sparsity": 0.3, "activation": "rms"}, BUDGETED, {"name": "magnitude", "sparsity": 0.3}]
    cells = plan(entries, [8, 16], [1, 2], controls=True)
    first, second, other = "sparsity=0.1", "sparsity=0.3", "max_perplexity_increase=0.01"
    assert places([cell for cell in cells if cell.controls]) == [
        ("base", "none", "", 16, 1, True),
        ("method", "wanda", first, 16, 1, True),
        ("method", "wanda", second, 16, 1, True),
        ("method", "first_order", other, 16, 1, True),
    ]
    assert places([cell for cell in cells if cell.kind == "shuffled"]) == [  # magnitude knows no labels
        ("shuffled", "wanda", first, 16, 1, False),
        ("shuffled", "wanda", second, 16, 1, False),
        ("shuffled", "wanda activation=rms", second, 16, 1, False),
        ("shuffled", "first_order", other, 16, 1, False),
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "wanda", "sparsity": []}], "methods: sparsity of wanda is an empty list; give at least one value"),
        (["taylor", {"name": "wanda", "sparsity": 0.1, "select": []}], "select of wanda is an empty list"),
        ([{"name": "wanda", "sparsity": [0.1, 0.3, 0.1]}], r"methods: wanda sparsity=0\.1 is given twice; keep one"),
        (["wanda", {"name": "wanda"}], "methods: wanda is given twice"),
        ([WANDA, {"name": "wanda", "sparsity": 0.3}], r"wanda sparsity=0\.3 is given twice"),
    ],
)
def test_methods_without_a_value_or_given_twice_are_refused(entries, message):
    with pytest.raises(InputError, match=message):
        plan(entries, [8], [1])


def test_controls_of_some_methods_only():
    cells = plan([WANDA, BUDGETED], [8], [1], controls=["first_order"])
    assert [(cell.kind, cell.name) for cell in cells if cell.controls] == [("base", "none"), ("method", "first_order")]
    assert [cell.name for cell in cells if cell.kind == "shuffled"] == ["first_order"]


def test_controls_do_not_hang_on_a_method_that_refuses_the_budget():
    cells = plan([{"name": "contrastive_sparse", "sparsity": 0.3}, WANDA], [8], [1], controls=True)
    assert [(cell.name, cell.budget) for cell in cells if cell.controls][1:] == [
        ("wanda", "sparsity=0.1"),
        ("wanda", "sparsity=0.3"),
    ]


def test_baselines_are_once_for_a_seed_and_the_prompt_belongs_to_the_base():
    cells = plan(["wanda"], [8, 16], [1, 2], baselines=["prompt", "rag", "sft", "rag"])
    found = [(cell.name, cell.num_samples, cell.seed) for cell in cells if cell.kind == "baseline"]
    assert found == [("rag", 16, 1), ("sft", 16, 1), ("rag", 16, 2), ("sft", 16, 2)]


def test_cells_of_one_calibration_stand_together():
    cells = plan([WANDA, BUDGETED], [8, 16], [1, 2], controls=True, baselines=["sft"])
    drawn = [(cell.seed, cell.num_samples, cell.kind == "shuffled") for cell in cells if cell.kind in ("method", "shuffled")]
    changes = [now for before, now in zip([None, *drawn], drawn, strict=False) if now != before]
    assert len(changes) == len(set(drawn)) == 5


@pytest.mark.parametrize(
    ("entries", "more", "message"),
    [
        (["wnada"], {}, "method.name 'wnada' is unknown; did you mean 'wanda'?"),
        ([{"sparsity": 0.1}], {}, "has no name"),
        ([{"name": "wanda", "sparsity": [0.1, 1.5]}], {}, "sparsity"),
        ([{"name": "first_order", "max_perplexity_increase": "x"}], {}, "max_perplexity_increase is 'x'; expected float | None"),
        ([{"name": "steering", "layer": "x"}], {}, "method steering: layer is 'x'; expected int | None"),
        ([{"name": "wanda", "depth": 3}], {}, "method wanda has no setting 'depth'"),
        (["wanda"], {"baselines": ["sfft"]}, "baseline 'sfft' is unknown; did you mean 'sft'?"),
        (["wanda"], {"controls": ["first_order"]}, "controls: 'first_order' is not among the methods of the sweep"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(entries, more, message):
    with pytest.raises(InputError) as error:
        plan(entries, [8], [1], **more)
    assert message in str(error.value)


def test_a_setting_of_null_is_the_default():
    assert plan([{"name": "wanda", "sparsity": None}], [8], [1]) == plan(["wanda"], [8], [1])
