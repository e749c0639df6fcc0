"""Communication volumes are those that counting by hand gives."""

import pytest

from jaxpersona.benchmarking.collectives import bytes_sent
from jaxpersona.benchmarking.commands import mesh

PROGRAM = """
HloModule jit_f

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %kernel = (bf16[2,3]{1,0}, /*index=1*/bf16[2,3]{1,0}) all-to-all(%x, %y), replica_groups={{0,1},{2,3}}
  %sum.1 = f32[4,8]{1,0} all-reduce(%z), replica_groups=[2,4]<=[8], to_apply=%add
}

%rare (x: f32[10]) -> f32[10] {
  %moved = f32[10]{0} collective-permute(%x), source_target_pairs={{0,1}}
}

ENTRY %main (p: f32[4,8]) -> f32[4,8] {
  %gathered = u8[16]{0} all-gather(%p), replica_groups=mesh['data'=4,'model'=2] {'data'}, dimensions={0}
  %loop = (s32[], f32[4,8]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %maybe = f32[10]{0} conditional(%i, %a, %b), branch_computations={%rare, %rare}
}
"""


def test_loops_branches_tuples_and_groups_are_counted():
    in_loop = 24 * 1 / 2 + 2 * 128 * 3 / 4
    assert bytes_sent(PROGRAM, 8) == 16 * 3 / 4 + 3 * in_loop + 2 * 40


def test_statistics_send_their_moments_over_data_and_masks_nothing():
    rows = mesh.run(mesh.Config(devices=[1, 2], rows=2, length=64, divide=64))
    value = {row.name.removeprefix("mesh/"): row.value for row in rows}
    assert len(rows) == 6 * 2 * 3
    assert value["1x1 strong: a device sends for statistics of a batch"] == 0
    layers, personas, moments, channels = 32, 2, 3, 3 * 64 + 224
    for scaling in ("strong", "weak"):
        sent = value[f"2x1 {scaling}: a device sends for statistics of a batch"]
        assert sent == layers * personas * moments * channels * 4 / 1e6  # 2 S (g - 1) / g with g = 2
        assert value[f"2x1 {scaling}: a device sends for masks"] < 0.001  # whether scores tie anywhere
    kernels = layers * (64 * 64 + 224 * 64) * 4  # those split by inputs, which a CPU exchanges as float32
    assert value["1x2 strong: a device sends for masks"] == pytest.approx(kernels / 2 / 2 / 1e6, abs=0.001)
    assert value["1x2 weak: parameters, most over fewest"] == 1
    assert value["1x2 weak: parameters of a device"] < 0.51 * value["2x1 weak: parameters of a device"]
