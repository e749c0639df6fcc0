"""The tables of a plan show its numbers."""

import dataclasses

import pytest

from jaxpersona import methods
from jaxpersona.discovery.plan import Devices, Plan, Texts
from jaxpersona.reporting.plan_table import print_plan


@pytest.fixture
def plan(tiny_model):
    texts = Texts(pairs=5, tokens=1234, batches=2, rows=4, length=96)
    return Plan(tiny_model.config, methods.Wanda(), texts, Devices("cpu", 10**9, 2, 3, is_host=True), 4, 512, False)


def printed(plan, capsys, monkeypatch):
    """Returns the words of each line, without borders."""
    monkeypatch.setenv("COLUMNS", "200")
    print_plan(plan)
    return [[word for word in line.split() if word not in "│┃"] for line in capsys.readouterr().out.splitlines()]


def test_shapes_data_and_devices_are_shown(plan, capsys, monkeypatch):
    text = " ".join(" ".join(line) for line in printed(plan, capsys, monkeypatch))
    for shown in (
        "Plan: wanda",
        "40,672 parameters, 23,040 maskable",
        "3 layers",
        "vocabulary 272",
        *("q_proj 32x32", "k_proj 32x16", "v_proj 32x16", "o_proj 32x32", "gate_proj 32x48", "up_proj 32x48", "down_proj 48x32"),
        "5 pairs, 1,234 tokens",
        "2 of 4 rows of 96",
        "6 x cpu, mesh data 2 x model 3",
    ):
        assert shown in text, text


def test_memory_and_disk_are_the_plans(plan, capsys, monkeypatch):
    lines = printed(plan, capsys, monkeypatch)
    for name, value in (
        ("a device: parameters", plan.parameter_bytes),
        ("a device: activations", plan.activation_bytes),
        ("a device: statistics", plan.statistics_bytes[0]),
        ("a device: selection", plan.selection_bytes),
        ("a device: peak", plan.peak_bytes),
        ("host: peak, devices included", plan.peak_host_bytes),
        ("disk: written", plan.written_bytes),
        ("disk: checkpoints", plan.checkpoint_bytes),
    ):
        [line] = [line for line in lines if " ".join(line).startswith(name)]
        number, unit = line[-2:]
        assert float(number) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit] == pytest.approx(value, rel=5e-3)


def test_what_is_not_known_is_left_out(plan, capsys, monkeypatch):
    texts, devices = dataclasses.replace(plan.texts, tokens=None), dataclasses.replace(plan.devices, is_host=False)
    unknown = dataclasses.replace(plan, texts=texts, devices=devices)
    text = "\n".join(" ".join(line) for line in printed(unknown, capsys, monkeypatch))
    assert "5 pairs\n" in text and "devices included" not in text
