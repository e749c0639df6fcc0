"""Counts the bytes that devices of a mesh send, from the text of a compiled program; nothing has to run, or fit into memory."""

import collections
import math
import re

_WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def bytes_sent(program: str, devices: int) -> float:
    """Returns the bytes that one device sends while the program runs, if collectives run around a ring.

    For an array of S bytes among g devices: all-reduce 2 S (g - 1) / g; all-gather (S of the result) and all-to-all
    S (g - 1) / g; reduce-scatter (S of the result) S (g - 1); collective-permute S. A loop counts as often as it runs, and a
    condition with all branches.

    Args:
      program: text from ``compiled.as_text()``.
      devices: number of devices in collectives that name no groups.
    """
    sent, calls = collections.defaultdict(float), collections.defaultdict(list)
    current = entry = ""
    for line in program.splitlines():
        if header := _HEADER.match(line):
            current = header[2]
            entry = current if header[1] else entry
            continue
        if found := _COLLECTIVE.search(line):
            sent[current] += _sent(found[2], _size(found[1]), _group(line, devices))
        trips = int(count[1]) if (count := _TRIPS.search(line)) else 1
        called = [*_CALLED.findall(line), *re.findall(r"[\w.\-]+", "".join(_BRANCHES.findall(line)))]
        calls[current] += [(name, trips) for name in called]

    def total(name: str) -> float:
        return sent[name] + sum(times * total(called) for called, times in calls[name])

    return total(entry)


def _size(arrays: str) -> int:
    """Returns the bytes of one array, or of all of a tuple.

    >>> _size("(f32[2,3]{1,0}, bf16[4]{0})")
    32
    """
    found = _ARRAY.findall(arrays)
    return sum(_WIDTHS.get(kind, 4) * math.prod(int(length) for length in shape.split(",") if length) for kind, shape in found)


def _group(line: str, devices: int) -> int:
    """Returns the number of devices in one instance of a collective.

    >>> _group("replica_groups=[4,2]<=[8]", 8), _group("replica_groups={{0,1,2},{3,4,5}}", 6), _group("", 8)
    (2, 3, 8)
    >>> _group("replica_groups=mesh['data'=4,'model'=2] {'model'}, dimensions={0}", 8)
    2
    """
    if named := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
        sizes = dict(part.split("=") for part in named[1].split(","))
        return math.prod(int(sizes[axis.strip()]) for axis in named[2].split(",") if axis)
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(iota[1])
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(listed[1].split(","))
    return devices


def _sent(kind: str, size: int, group: int) -> float:
    factor = {"all-reduce": 2 / group, "all-gather": 1 / group, "all-to-all": 1 / group, "reduce-scatter": 1.0}
    return size * factor[kind] * (group - 1) if kind in factor else float(size)
