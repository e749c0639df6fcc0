"""``discover --dry_run true`` prints the plan, reads no weights and writes nothing."""

import json
import shutil

import pytest

from jaxpersona.commands import cli
from jaxpersona.discovery import plan


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs ``discover`` in this process; returns exit status, output and errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*argv):
        with pytest.raises(SystemExit) as left:
            cli.main("discover", argv)
        return (left.value.code, *capsys.readouterr())

    return run


def test_a_dry_run_reads_no_weights_and_writes_nothing(command, tiny_folder, tmp_path):
    """Uses a weight file of zeros behind its header."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    header = whole[: 8 + int.from_bytes(whole[:8], "little")]
    weights.write_bytes(header + bytes(len(whole) - len(header)))
    options = (f"--model.name={folder}", "--data.num_samples=4", "--method=wanda", f"--output_dir={tmp_path / 'run'}")
    status, out, err = command(*options, "--dry_run=true")
    assert status == 0, err
    assert not (tmp_path / "run").exists()
    for text in (
        "Plan: wanda",
        "40,672 parameters, 23,040 maskable",
        "4 pairs",
        "mesh data 1 x model 1",
        "q_proj 32x32",
        "a device: peak",
        "host: peak",
        "disk: written",
        "disk: checkpoints, while it runs",
    ):
        assert text in out, out


def test_the_plan_counts_what_the_run_does(command, tiny_folder, tmp_path, monkeypatch):
    plans = []
    check = plan.Plan.check
    monkeypatch.setattr(plan.Plan, "check", lambda self: plans.append(self) or check(self))
    options = (f"--model.name={tiny_folder}", "--data.num_samples=12", f"--output_dir={tmp_path / 'run'}")
    assert command(*options, "--dry_run=true")[0] == 0
    assert command(*options, "--perplexity.max_tokens=0")[0] == 0
    planned = plans[0]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert planned.texts.pairs == record["data"]["pairs"] == 12
    words = sum(path.stat().st_size for path in (tmp_path / "run" / "masks").rglob("*") if path.is_file())
    assert planned.written_bytes > 0
    assert words < planned.written_bytes + 100_000
    assert planned.parameter_bytes == 40_672 * 4


@pytest.mark.parametrize("options", [["--dry_run=true"], []], ids=["dry run", "real run"])
def test_what_cannot_fit_is_refused_before_it_starts(command, tiny_folder, tmp_path, monkeypatch, options):
    monkeypatch.setattr(plan, "host_memory_bytes", lambda: 10**8)
    monkeypatch.setattr(plan, "device_memory_bytes", lambda: 10**8)
    status, _, err = command(f"--model.name={tiny_folder}", f"--output_dir={tmp_path / 'run'}", *options)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and "Traceback" not in err
    assert "the plan does not fit: this machine needs 0.5 GB and has 0.1 GB; use" in errors[0]
    assert not (tmp_path / "run").exists()


def test_what_fits_only_layer_by_layer_is_streamed_unless_that_is_excluded(command, tiny_folder, monkeypatch):
    shortage = plan.Shortage("a device (a GPU)", 129.8e9, 60 * 10**9, 0.0)
    monkeypatch.setattr(plan.Plan, "shortage", property(lambda self: None if self.stream_layers else shortage))
    checked = []
    monkeypatch.setattr(plan.Plan, "check", lambda self: checked.append(self.stream_layers))
    options = (f"--model.name={tiny_folder}", "--data.num_samples=4", "--dry_run=true")
    for more in ((), ("--stream_layers=false",), ("--check.question=Why?",), ("--method.name=sparsegpt", "--method.update=true")):
        status, out, err = command(*options, *more)
        assert status == 0, err
        line = "(stream_layers): with all of it in memory a device (a GPU) needs 129.8 GB and has 60.0 GB.\n"
        assert (line in out) == (more == ())
    assert checked == [True, False, False, False]
