"""Which node a thread belongs to, and how far others are: from folders that look like those of Linux."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wdasync.numa import FARTHEST, LOCAL, REMOTE, Topology, Whereabouts

#: A machine with two sockets of two nodes each.
FOUR = {
    0: ("0-3", "10 12 20 22"),
    1: ("4-7", "12 10 22 24"),
    2: ("8-11", "20 22 10 12"),
    3: ("12-15", "22 24 12 10"),
}

Machine = Callable[[dict[int, tuple[str, str]]], Topology]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Reads a machine that a test invents: node -> its cpulist and distance files."""

    def invent(nodes: dict[int, tuple[str, str]]) -> Topology:
        for node, (cpus, distances) in nodes.items():
            folder = tmp_path / f"devices/system/node/node{node}"
            folder.mkdir(parents=True)
            (folder / "cpulist").write_text(cpus + "\n")
            if distances:
                (folder / "distance").write_text(distances + "\n")
        return Topology.read(tmp_path)

    return invent


def at(*allowed: int, cpu: int | None = None) -> Whereabouts:
    return Whereabouts(frozenset(allowed), cpu)


def test_distances(machine: Machine) -> None:
    four = machine(FOUR)
    assert [four.distance(1, node) for node in range(4)] == [12, 10, 22, 24]
    assert four.distance(1, None) == LOCAL, "everywhere"
    assert four.distance(None, 3) == LOCAL, "nobody knows where we are"
    assert four.distance(1, 4) == FARTHEST, "there is no such node"
    assert repr(four) == "<Topology of nodes 0, 1, 2, 3>"


def test_the_node_of_a_thread(machine: Machine) -> None:
    four = machine(FOUR)
    assert four.home(at(4, 5)) == 1, "it may run nowhere else"
    assert four.home(at(4, 5, cpu=9)) == 1, "and where it was a moment ago does not count"
    assert four.home(at(*range(16), cpu=9)) == 2, "the one where it is"
    assert four.home(at(3, 12, cpu=12)) == 3
    assert four.home(at(*range(16))) is None
    assert four.home(at(99, cpu=99)) is None


def test_nodes_with_gaps_and_without_processors(machine: Machine) -> None:
    """Numbers go in the order of the nodes that are there; a node may be memory only."""
    gaps = machine({0: ("0-1,8", "10 17 28"), 2: ("", "17 10 28"), 10: ("2", "28 28 10")})
    assert gaps.home(at(8)) == 0
    assert gaps.distance(0, 2) == 17
    assert gaps.distance(0, 10) == 28
    assert gaps.distance(2, 0) == 17
    assert gaps.distance(0, 1) == FARTHEST


def test_a_machine_that_does_not_tell_distances(machine: Machine) -> None:
    assert machine({0: ("0", ""), 1: ("1", "")}).distance(0, 1) == REMOTE


@pytest.mark.parametrize("distances", ["10", "10 twenty", "10 20 30"])
def test_distances_that_cannot_be_right(machine: Machine, distances: str) -> None:
    two = machine({0: ("0", distances), 1: ("1", "20 10")})
    assert two.distance(0, 1) == REMOTE
    assert two.distance(1, 0) == 20


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    nothing = Topology.read(tmp_path)
    assert nothing.home(at(0, cpu=0)) is None
    assert nothing.distance(nothing.home(at(0)), 3) == LOCAL
    assert repr(nothing) == "<Topology of nodes that nobody tells of>"


def test_a_cpu_list_that_makes_no_sense(machine: Machine) -> None:
    strange = machine({0: ("0,x-y,-,4-,2", "10 20"), 1: ("1", "20 10")})
    assert strange.home(at(2)) == 0
    assert strange.home(at(3)) is None
    assert strange.home(at(1)) == 1


def test_the_processor_of_this_thread(tmp_path: Path) -> None:
    here = Whereabouts.now()
    assert here.allowed == os.sched_getaffinity(0)
    assert here.cpu is not None
    # A program may have any name.
    (tmp_path / "thread-self").mkdir()
    stat = tmp_path / "thread-self/stat"
    fields = ["S", *map(str, range(4, 53))]
    stat.write_text(f"17 (a) S 1 (b) {' '.join(fields)}\n")
    assert Whereabouts.now(tmp_path).cpu == 39, "proc(5) numbers its fields from 1"
    for wrong in ("", "17 (a) S 1", "17 (a) " + "x " * 50):
        stat.write_text(wrong)
        assert Whereabouts.now(tmp_path).cpu is None
    stat.unlink()
    assert Whereabouts.now(tmp_path).cpu is None


def test_this_machine() -> None:
    here = Topology.read()
    home = here.home(Whereabouts.now())
    assert here.distance(home, home) == LOCAL
