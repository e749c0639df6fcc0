"""Statistics and masks compiled ahead of time for a real TPU slice, where the package ``libtpu`` is installed (640 MB, no TPU
needed).

This is what catches a program that a TPU's compiler refuses, or that needs more memory than a chip has. Run it with

    pip install ".[tpu]" && python -m pytest tests/test_distributed_compiled.py
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

COMPILE = """
import sys
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh
from jaxpersona.benchmarks.commands.mesh import LLAMA_3_8B
from jaxpersona.benchmarks.meshes import parameters_on, selection_programs, statistics_program
from jaxpersona.core.mesh import AXES
from jaxpersona.models.config import ModelConfig
from jaxpersona.models.sites import kernels

data, model = map(int, sys.argv[1:])
topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4")
devices = mesh_utils.create_device_mesh((data, model), topology.devices, allow_split_physical_axes=True)
mesh, config = Mesh(devices, AXES, axis_types=(AxisType.Auto, AxisType.Auto)), ModelConfig.from_hf(LLAMA_3_8B)
params = parameters_on(mesh, config)
for program in (statistics_program(params, config, mesh, 16 * data, 256), *selection_programs(kernels(params), mesh)):
    memory = program.compile().memory_analysis()
    assert memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes < 8e9
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize(("data", "model"), [(4, 4), (1, 16)])
def test_a_v5e_16_slice_takes_llama_3_8b(data, model):
    as_if_on_one = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-16", "TPU_WORKER_HOSTNAMES": "localhost"}
    environment = {**os.environ, **as_if_on_one, "TPU_WORKER_ID": "0", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", COMPILE, str(data), str(model)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
