"""Block sizes of the Pallas kernels, by device kind.

The figures are calculated, not tuned: on a TPU a block of weights, its mask words and what they unpack to fit the default 16 MiB
of VMEM with double buffering; on a GPU a program's weights stay in registers. To tune them for a device, run on it

    python -m jaxpersona.benchmark kernels --tune true

which times every candidate at the benchmark's shapes and prints the best as an entry for this table.
"""

import dataclasses

import jax


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How a product [rows, inputs] x [inputs, outputs] is cut.

    Attributes:
      rows: most rows of x a program takes; more are cut into tiles, each with its own list of personas.
      inputs: inputs of a block of weights, a multiple of 256; on a GPU unused, where a program walks over all its inputs.
      outputs: outputs of a block of weights, a power of two.
      splits: on a GPU, into how many parts the inputs are cut that are summed up in the end; more parts fill more
        multiprocessors.
    """

    rows: int = 256
    inputs: int = 1024
    outputs: int = 512
    splits: int = 1


TPU = Blocks()
GPU = Blocks(rows=16, outputs=64, splits=4)
TABLE: dict[str, Blocks] = {"TPU v5 lite": TPU, "TPU v6 lite": TPU, "NVIDIA H100 80GB HBM3": GPU, "NVIDIA H200": GPU}


def blocks_for(platform: str) -> Blocks:
    """The table's entry for this process's device if it is of ``platform`` (``tpu``, ``gpu``), else that platform's default."""
    device = jax.devices()[0]
    default = TPU if platform == "tpu" else GPU
    return TABLE.get(device.device_kind, default) if device.platform == platform else default
