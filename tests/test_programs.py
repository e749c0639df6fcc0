"""Programs at full model shapes, compiled for TPUs that are not there: an optional job, which takes minutes; and their count."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec
from programs import AS_IF_ON_TPU, MODELS, operations, programs_of
from several_processes import HERE

from jaxpersona.core.mesh import make_mesh
from jaxpersona.models.config import ModelConfig


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu (640 MB) is not installed")
@pytest.mark.parametrize("mesh", ["4x4", "1x16"])
def test_the_largest_programs_for_llama_3_8b_fit_a_v5e_16_slice(mesh):
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    largest = "taylor: gradient and factors", "engine: decode"
    command = [sys.executable, str(HERE / "programs.py"), "v5e:4x4", mesh, "Llama-3-8B", *largest]
    variables = {**os.environ, **AS_IF_ON_TPU, "PYTHONPATH": paths}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(largest)
    for program in found:
        assert "refused" not in program, program
        assert program["held"] + program["temporary"] < 15.75 * 2**30


def test_every_program_is_traced_as_the_package_defines_it():
    config = ModelConfig.from_hf(MODELS["Llama-3-8B"] | {"num_hidden_layers": 2})
    traced = [name for name, trace in programs_of(config, make_mesh()) if trace() is not None]
    assert len(traced) == len(set(traced)) == 15


def test_operations_of_a_loop_count_as_often_as_it_runs():
    def program(x):
        return jax.lax.cond(x.sum() > 0, lambda: jax.lax.scan(lambda y, _: (y @ x, None), x, length=3)[0], lambda: x @ x)

    x, mesh = jnp.ones((4, 4)), AbstractMesh((2,), ("data",))
    sharded = jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))
    assert operations(jax.make_jaxpr(program)(x).jaxpr) == 3 * 2 * 4**3
    assert operations(jax.make_jaxpr(sharded)(x).jaxpr) == 2 * (2 * 2 * 4 * 2)
