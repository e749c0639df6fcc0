"""Bytes that devices send, counted in the text of a program, are those that counting by hand gives."""

import pytest

from jaxpersona.benchmarks.collectives import bytes_sent

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


def test_a_loop_in_a_loop_counts_as_often_as_both_go_round():
    outer = (
        PROGRAM.replace("ENTRY %main", "%once")
        + """
ENTRY %twice (p: f32[4,8]) -> f32[4,8] {
  %again = (s32[], f32[4,8]) while(%t), condition=%c, body=%once, backend_config={"known_trip_count":{"n":"2"}}
}
"""
    )
    assert bytes_sent(outer, 8) == 2 * bytes_sent(PROGRAM, 8)


@pytest.mark.parametrize(
    ("collective", "sent"),
    [
        ("%r = f32[6]{0} reduce-scatter(%x), replica_groups={{0,1,2}}, to_apply=%add", 24 * 2),
        ("%r = f32[6]{0} all-gather-start(%x), replica_groups={{0,1,2}}", 24 * 2 / 3),
        ("%r = f32[6]{0} all-gather-done(%x)", 0),
        ("%r = f64[2,3]{1,0} all-reduce(%x), to_apply=%add", 2 * 48 * 7 / 8),
        ("%r = f32[6]{0} add(%x, %all-reduce.1)", 0),
    ],
)
def test_each_collective_around_a_ring(collective, sent):
    assert bytes_sent(f"ENTRY %main (p: f32[6]) -> f32[6] {{\n  {collective}\n}}", 8) == pytest.approx(sent)


def test_a_program_without_an_entry_sends_nothing():
    assert bytes_sent("", 8) == 0
