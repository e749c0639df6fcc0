"""The command ``report`` writes a page that a browser shows without a complaint."""

import json
import re
import shutil
import subprocess

import pytest
from evaluation_record import evaluation_record
from run_records import run_record

from jaxpersona.commands import cli

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EVIL = "<script>document.title = 'broken'; console.error('broken')</script><img src=x onerror=\"console.error('broken')\">"


@pytest.fixture
def run(tmp_path):
    """Returns the folder of a run written by hand, with hostile answers."""
    overlap = [{"modules": "all", "kept": [0.95, 0.96], "jaccard": 0.92, "jaccard_independent": 0.91, "difference_rate": 0.08}]
    model = {"name": "tiny", "origin": "folder", "architecture": "Llama", "dtype": "float32", "fingerprint": "f" * 64}
    data = {"source": EVIL, "sha256": "0" * 64, "pairs": 4, "pairs_dropped": 0, "pairs_truncated": 0, "tokens": None}
    config = run_record(("gain", "loss"))["config"]
    record = {
        **{"schema_version": 1, "config": {**config, "perplexity": {"text": "builtin:neutral"}}, "model": model, "data": data},
        **{"method": {"name": "wanda", "sparsity": 0.1, "select": "all"}, "protocol": {"name": "strict"}, "search": {}},
        **{"masks": {"gain": {"kept": 0.95}, "loss": {"kept": 0.96}}, "overlap": overlap, "perplexity": {}, "seconds": {}},
        **{"peak_memory_bytes": 1e9, "device": "1 x cpu", "versions": {}},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation_record(EVIL)))
    curve = {"levels": [0, 1], "margin": [0.0, 2.5], "margin_ci95": [[-1.0, 1.0], [1.5, 3.5]], "accuracy": [0.5, 0.75]}
    curve |= {"spearman": 1.0, "monotone_share": 1.0}
    graded = [{"kind": "gamma", "persona": EVIL, "curve": curve, "perplexity": [20.0, 21.0]}]
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "mixing.json").write_text(json.dumps({"analysis": "mixing", "result": {"graded": graded}}))
    scores = {"metric": "acc", "value": 0.5, "stderr": 0.1, "n": 25, "version": 1.0, "samples": {}}
    cases = {name: {"masks_sha256": None, "tasks": {EVIL: scores}} for name in ("none", "gain")}
    (tmp_path / "capability.json").write_text(json.dumps({"schema_version": 1, "cases": cases}))
    answers = [{"mask": mask, "question": EVIL, "answer": EVIL} for mask in ("none", "gain", "loss")]
    (tmp_path / "answers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in answers))
    return tmp_path


def report(capsys, *argv):
    with pytest.raises(SystemExit) as left:
        cli.main("report", list(argv))
    return (left.value.code, *capsys.readouterr())


def test_the_page_and_its_figures_are_written(run, capsys):
    status, out, err = report(capsys, f"--run={run}")
    assert (status, err) == (0, "")
    names = ("capability", "likelihood", "mixing_gamma", "preference", "separation_damage")
    assert sorted(path.name for path in (run / "figures").iterdir()) == [
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    ]
    assert out.startswith(f"Written: {run} (report.html, figures/preference.svg, ")
    assert "separate gain from loss by 50.0 points" in (run / "report.html").read_text()


def test_figures_can_be_left_out(run, capsys):
    assert report(capsys, str(run), "--figures=false")[0] == 0
    assert not (run / "figures").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "contains no run (run.json is missing)"),
        (lambda run: (run / "run.json").write_text("{"), "run.json: damaged"),
        (
            lambda run: (run / "evaluation.json").write_text("[]"),
            "evaluation.json: not a JSON object; make it anew",
        ),
        (lambda run: (run / "answers.jsonl").write_text("{"), "answers.jsonl: damaged"),
    ],
)
def test_damaged_runs_are_refused_with_one_line(run, capsys, spoil, message):
    spoil(run)
    status, out, err = report(capsys, f"--run={run}")
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err
    assert not (run / "report.html").exists()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_shows_the_page_without_a_complaint(run, capsys, tmp_path):
    assert report(capsys, f"--run={run}", "--figures=false")[0] == 0
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr"]
    profile, page = f"--user-data-dir={tmp_path / 'profile'}", (run / "report.html").as_uri()
    done = subprocess.run(
        [BROWSER, *flags, profile, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r".*CONSOLE.*", done.stderr) == []
    assert "<title>gain and loss: wanda on tiny</title>" in done.stdout  # no script has changed it
    assert done.stdout.count("<svg") == 5 and "<script" not in done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.filterwarnings("default")  # Playwright's own
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_a_phone(run, capsys, scheme):
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra browser")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra browser")
    assert report(capsys, f"--run={run}", "--figures=false")[0] == 0
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
        page.goto((run / "report.html").as_uri())
        page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert [found["id"] for found in axe.Axe().run(page).response["violations"]] == []
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        browser.close()
