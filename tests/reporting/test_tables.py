"""The tables in the terminal show the record's numbers, at any width and for any names."""

import copy

import pytest

from jaxpersona.reporting.tables import print_evaluation, print_summary


@pytest.fixture
def printed(capsys, monkeypatch):
    def show(record, width=200, output_dir="runs/x"):
        monkeypatch.setenv("COLUMNS", str(width))
        print_summary(record, output_dir)
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("width", [80, 200])
def test_overlap_table_has_every_row_and_number(printed, record, width):
    lines = printed(record, width).splitlines()
    for row in record["overlap"]:
        line = next(line for line in lines if row["modules"] in line.split())
        shares = [f"{share:.2%}" for share in (*row["kept"], row["difference_rate"])]
        for number in (*shares, f"{row['jaccard']:.4f}", f"{row['jaccard_independent']:.4f}"):
            assert number in line


def test_perplexity_and_its_change_are_shown(printed, record):
    lines = [line.split() for line in printed(record).splitlines()]
    rows = [[word for word in line if word not in "│┃"] for line in lines]
    for row in (["none", "200.00"], ["gain", "250.00", "+25.0%"], ["loss", "190.00", "-5.0%"]):
        assert row in rows


def test_perplexity_table_is_left_out_when_nothing_was_measured(printed, record):
    assert "Perplexity" in printed(record)
    assert "Perplexity" not in printed({**record, "perplexity": {}})


def test_time_memory_and_place_are_said(printed, record):
    out = printed({**record, "peak_memory_bytes": 2_340_000_000})
    assert "3.8 s (load 1.2, calibrate 2.5), peak memory 2.34 GB" in out
    assert "Written: runs/x (masks/gain, masks/loss, run.json, report.html)" in out


def test_names_with_brackets_and_colons_are_printed_as_they_are(printed, record):
    record = copy.deepcopy(record)
    record["model"]["name"], record["data"]["source"] = "models/[bold]m", "pairs:smile:.csv"
    record["config"]["perplexity"]["text"] = "texts/[/x].txt"
    out = printed(record, output_dir="runs/[red]a[/b]")
    for name in ("models/[bold]m", "pairs:smile:.csv", "texts/[/x].txt", "runs/[red]a[/b]"):
        assert name in out


def row(mask, **changes):
    common = {"mask": mask, "prompt": "none", "scoring": "sum", "persona": "gain", "n": 4, "accuracy": 0.25, "ci95": [0.1, 0.6]}
    return {**common, "margin": -1.25, "perplexity": 20.125, "answer_nll": 3.5, "ties": 0, "missing": 0, **changes}


def separation(**changes):
    common = {"masks": ["gain", "loss"], "prompt": "none", "scoring": "sum", "separation": 0.125, "n": 8}
    return {**common, "ci95": [-0.05, 0.3], "p_value": 0.0625, **changes}


@pytest.fixture
def evaluation():
    results = [
        row("none"),
        row("none", prompt="gain", accuracy=0.375),
        row("none", scoring="per_token", accuracy=0.111),
        row("none", persona="loss", accuracy=0.75),
        row("gain", accuracy=0.625, ci95=[0.333, 0.899], margin=2.34, perplexity=123456.0, missing=3),
        row("longer", accuracy=1.0, perplexity=None, answer_nll=None),
    ]
    data = {"source": "pairs:smile:[b].csv", "pairs": 4, "sha256": "0"}
    rows = [separation(), separation(scoring="per_byte", separation=0.99)]
    return {"data": data, "perplexity_text": "builtin:neutral", "results": results, "separation": rows}


@pytest.fixture
def shown(capsys, monkeypatch, evaluation):
    monkeypatch.setenv("COLUMNS", "200")
    print_evaluation(evaluation, "gain", "runs/[red]a")
    return capsys.readouterr().out


def test_evaluation_shows_accuracy_on_the_persona_by_sum_alone(shown):
    lines = [[word for word in line.split() if word not in "│┃"] for line in shown.splitlines()]
    assert [line for line in lines if any(word.endswith("%") for word in line)][1:] == [
        ["none", "none", "25.0%", "10-60", "-1.2", "20.12", "3.50", "0"],
        ["none", "gain", "37.5%", "10-60", "-1.2", "20.12", "3.50", "0"],
        ["gain", "none", "62.5%", "33-90", "2.3", "1e+05", "3.50", "3"],
        ["longer", "none", "100.0%", "10-60", "-1.2", "0"],
    ]


def test_evaluation_shows_separation_place_and_names_as_they_are(shown):
    wanted = "Separation, gain minus loss mask, prompt none: +12.5 points (95 %: -5.0 to +30.0, McNemar p = 0.062)"
    assert [line for line in shown.splitlines() if line.startswith("Separation")] == [wanted]
    assert "Written: runs/[red]a (evaluation.json, evaluation.csv)" in shown
    assert "Preference for gain answers, 4 pairs of pairs:smile:[b].csv" in shown
