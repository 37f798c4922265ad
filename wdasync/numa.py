"""Which memory node the program runs on, and how far a device is from it.

A machine with several memory controllers has several *nodes*, each with processors of its own; a device sits at one of
them, and what crosses from one to another is slower. Linux tells all of it below ``/sys/devices/system/node``: a folder
for each node that is there, its processors in ``cpulist``, and in ``distance`` one number for each of these nodes, in
their order (ACPI 6.5 section 5.2.17: 10 is the node itself, 255 cannot be reached). A machine that tells nothing is one
node.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["FARTHEST", "LOCAL", "REMOTE", "Topology", "Whereabouts"]

SYSFS: Final = Path("/sys")
PROCFS: Final = Path("/proc")

#: Distance of a node from itself.
LOCAL: Final = 10
#: Distance of another node, where the machine does not say.
REMOTE: Final = 20
#: Distance of a node that is not there.
FARTHEST: Final = 255

#: Field of ``/proc/[pid]/stat``, counted from the state, that has the processor that last ran it: proc(5), field 39.
_PROCESSOR: Final = 39 - 3


class Whereabouts(NamedTuple):
    """Where a thread runs, and may run.

    :ivar allowed: processors that it may run on
    :ivar cpu: the one that it runs on now; ``None``: nobody tells
    """

    allowed: frozenset[int]
    cpu: int | None

    @classmethod
    def now(cls, procfs: Path = PROCFS) -> Whereabouts:
        """Of the calling thread."""
        return cls(frozenset(os.sched_getaffinity(0)), _current_cpu(procfs))


def _current_cpu(procfs: Path) -> int | None:
    try:
        # The name of the program comes before, in brackets, and may hold anything.
        return int((procfs / "thread-self/stat").read_text().rpartition(")")[2].split()[_PROCESSOR])
    except (OSError, ValueError, IndexError):
        return None


class Topology:
    """The nodes of a machine.

    :param cpus: node -> its processors
    :param distances: node -> distance to each node, in ascending order of these
    """

    def __init__(self, cpus: Mapping[int, frozenset[int]], distances: Mapping[int, Sequence[int]]) -> None:
        self._cpus = dict(sorted(cpus.items()))
        self._distances = {
            (node, other): distance
            for node, row in distances.items()
            if len(row) == len(cpus)
            for other, distance in zip(self._cpus, row, strict=True)
        }

    def __repr__(self) -> str:
        return f"<Topology of nodes {', '.join(map(str, self._cpus)) or 'that nobody tells of'}>"

    @classmethod
    def read(cls, sysfs: Path = SYSFS) -> Topology:
        """What this machine says. Never raises: what cannot be read is not there."""
        folders = {
            int(path.name.removeprefix("node")): path
            for path in (sysfs / "devices/system/node").glob("node[0-9]*")
            if path.name.removeprefix("node").isdecimal()
        }
        cpus = {node: _cpu_list(_text(path / "cpulist")) for node, path in folders.items()}
        distances = {node: _numbers(_text(path / "distance")) for node, path in folders.items()}
        return cls(cpus, distances)

    def home(self, whereabouts: Whereabouts) -> int | None:
        """The node that a thread belongs to: the only one whose processors it may use, else that of its processor.

        ``None``: nobody can tell.
        """
        allowed = [node for node, cpus in self._cpus.items() if cpus & whereabouts.allowed]
        if len(allowed) == 1:
            return allowed[0]
        return next((node for node, cpus in self._cpus.items() if whereabouts.cpu in cpus), None)

    def distance(self, home: int | None, node: int | None) -> int:
        """From one node to another.

        :param home: ``None``: unknown, so that all are as near
        :param node: ``None``: everywhere, so that it is near
        """
        if home is None or node is None or home == node:
            return LOCAL
        if node not in self._cpus:
            return FARTHEST
        return self._distances.get((home, node), REMOTE)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    words = text.split()
    return tuple(map(int, words)) if all(map(str.isdecimal, words)) else ()


def _cpu_list(text: str) -> frozenset[int]:
    """The kernel's list format: ``0-3,8,10-11``. A part that is none is left out."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
