"""Every part runs on a CPU in a small form, and one that fails does not stop the others."""

import json
import math

import pytest

from jaxpersona.benchmarks import accelerator, accelerator_parts, sides
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.core.errors import InputError


@pytest.fixture
def smaller(monkeypatch):
    tiny = {"square": 32, "shapes": [(3, 300, 20, 2)], "pairs": 3, "generated": (4, 12), "new_tokens": 2}
    monkeypatch.setattr(accelerator, "SMALL", accelerator.SMALL | tiny)
    monkeypatch.setattr(accelerator_parts.kernels, "_SHAPES", {(4096, 4096): 2})
    # ``taylor`` takes longest, and runs as ``wanda`` does.
    parts = {name: part for name, part in accelerator_parts.PARTS.items() if name != "discovery by taylor"}
    monkeypatch.setattr(accelerator, "PARTS", parts)


def test_all_parts_run_on_a_cpu(in_process, smaller, tmp_path, capsys):
    report = accelerator.run(BenchmarkConfig(minutes=30))
    assert [(part.name, part.problem) for part in report.parts] == [(name, None) for name in accelerator.PARTS]
    numbers = [number for part in report.parts for _, values in part.found["values"].values() for number in values]
    assert len(numbers) > 25 and all(math.isfinite(number) and number >= 0 for number in numbers)
    agreement = report.parts[3].found["values"]
    assert agreement["least overlap of masks"][1] == agreement["tokens of a greedy answer that agree"][1] == [1.0]
    report.print()
    assert "this was the small form" in capsys.readouterr().out
    report.write(str(tmp_path / "new" / "found.json"))
    assert len(json.loads((tmp_path / "new" / "found.json").read_text())["parts"]) == len(report.parts)
    table = (tmp_path / "new" / "found.md").read_text()
    assert (
        "- kind: cpu" in table and "- kernel: masked_matmul uses XLA on cpu" in table and "| streamed discovery | ok |" in table
    )
    assert {line.count("|") for line in table.splitlines() if line.startswith("|")} == {4, 6}


def test_parts_that_fail_or_find_no_time_do_not_stop_the_others(monkeypatch, tmp_path, capsys):
    def run_task(module, task, options, environment, timeout):
        assert timeout <= 60
        if options["part"] == "device":
            return sides.Finished({}, {}, {"values": {"devices": ["", [1]]}, "facts": {"kind": "TPU v9", "platform": "tpu"}})
        assert options["square"] == (256 if options["part"].startswith("tiny") else 8192)
        raise InputError("it failed: a | b\nc")

    monkeypatch.setattr(sides, "run_task", run_task)
    report = accelerator.run(BenchmarkConfig(minutes=1))
    assert {part.problem for part in report.parts[1:]} == {"it failed: a | b\nc"}
    assert "| streamed discovery | it failed: a / b c | 0 s |" in report.markdown() and "small form" not in report.markdown()
    monkeypatch.setattr(accelerator.time, "monotonic", iter(range(0, 10**6, 58)).__next__)
    late = accelerator.run(BenchmarkConfig(minutes=1)).parts
    assert late[-1].problem == "left out: no time left; give more --minutes"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        report.write(str(tmp_path / "file" / "x.json"))
