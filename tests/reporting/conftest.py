"""Provides one run on the tiny model, and its record, for all tests of reports."""

import dataclasses

import pytest

import jaxpersona as jp
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.commands.shared_config import DataOptions
from jaxpersona.reporting.record import make_record

PERPLEXITY = {"none": 200.0, "gain": 250.0, "loss": 190.0}
SECONDS = {"load": 1.25, "calibrate": 2.5}


@pytest.fixture(scope="session")
def config():
    return dataclasses.asdict(DiscoverConfig(data=DataOptions(personas=("gain", "loss"))))


@pytest.fixture(scope="session")
def tiny_run(tiny_model):
    pairs = [jp.Pair(f"What is {n}?", f"Gold, {n}.", f"Sand, {n}.") for n in range(3)] + [jp.Pair("Same?", "Yes.", "Yes.")]
    method = jp.methods.Wanda(sparsity=0.5, overrides={"mlp@0": 0.25})
    return jp.discover(tiny_model, pairs, method, personas=("gain", "loss"), max_length=64)


@pytest.fixture(scope="session")
def record(tiny_run, config):
    return make_record(tiny_run, config, PERPLEXITY, SECONDS)
