"""How much the devices of a mesh tell each other, read off a compiled program: nothing has to run, or fit into memory."""

import dataclasses
import math
import re

_WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}
_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass
class _Computation:
    sent: float = 0.0
    calls: list[tuple[str, int]] = dataclasses.field(default_factory=list)


def bytes_sent(program: str, devices: int) -> float:
    """Bytes that one device sends while the program runs, if collectives run around a ring.

    Of an array of S bytes among g devices that is 2 S (g - 1) / g for all-reduce, S (g - 1) / g for all-gather (S of the result)
    and all-to-all, S (g - 1) for reduce-scatter (S of the result), and S for collective-permute. Loops count as often as they
    run, and of a condition all branches.

    Args:
      program: what ``compiled.as_text()`` gives.
      devices: in all, of collectives that name no groups.
    """
    computations, current, entry = {"": _Computation()}, _Computation(), ""
    for line in program.splitlines():
        if header := _HEADER.match(line):
            current = computations[header[1]] = _Computation()
            entry = header[1] if line.startswith("ENTRY") else entry
            continue
        if found := _COLLECTIVE.search(line):
            current.sent += _sent(found[2], _size(found[1]), _group(line, devices))
        trips = int(count[1]) if (count := _TRIPS.search(line)) else 1
        called = [*_CALLED.findall(line), *re.findall(r"[\w.\-]+", "".join(_BRANCHES.findall(line)))]
        current.calls += [(name, trips) for name in called]

    def total(name: str) -> float:
        computation = computations.get(name, computations[""])
        return computation.sent + sum(times * total(called) for called, times in computation.calls)

    return total(entry)


def _size(arrays: str) -> int:
    """Bytes of one array or of all of a tuple.

    >>> _size("(f32[2,3]{1,0}, bf16[4]{0})")
    32
    """
    total = 0
    for kind, shape in _ARRAY.findall(arrays):
        size = _WIDTHS.get(kind, 4)
        for length in filter(None, shape.split(",")):
            size *= int(length)
        total += size
    return total


def _group(line: str, devices: int) -> int:
    """How many devices take part in one instance of a collective.

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
