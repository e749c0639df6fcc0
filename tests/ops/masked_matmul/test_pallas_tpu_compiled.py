"""The TPU kernel compiled ahead of time for real TPU generations, where the package ``libtpu`` is installed (640 MB, no TPU
needed).

This is what catches a kernel that needs more VMEM than there is. Run it with

    pip install ".[tpu]" && python -m pytest tests/kernels/test_tpu_compiled.py
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

COMPILE = """
import sys
import jax, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ops.masked_matmul.test_pallas_tpu import SHAPES, shapes_of
from jaxpersona.ops.masked_matmul import masked_matmul
import jax.numpy as jnp

topology = topologies.get_topology_desc(platform="tpu", topology_name=sys.argv[1])
place = NamedSharding(Mesh(np.array(topology.devices[:1]), ("x",)), PartitionSpec())
llama = [(rows, *shape, 8, jnp.bfloat16, True) for rows in (16, 2048) for shape in ((4096, 14336), (14336, 4096))]
for shape in [*SHAPES, *llama]:
    operands = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place) for leaf in shapes_of(*shape)]
    assert "tpu_custom_call" in jax.jit(masked_matmul).lower(*operands).compile().as_text(), shape
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x2", "v6e:2x2"])
def test_kernel_compiles_for_tpu(topology):
    as_if_on_one = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost"}
    environment = {**os.environ, **as_if_on_one, "TPU_WORKER_ID": "0", "JAX_PLATFORMS": "cpu"}
    paths = [str(pathlib.Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run([sys.executable, "-c", COMPILE, topology], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
