"""What the kernel's own handler answers: the golden scenario IO7; and what it does when a program ends.

Two of its rows have no case here: what is granted can be read, and this device executes nothing.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from wdasync.faults import FaultResponse
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.memory import PAGE
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor

VA, READ_ONLY = 0x1000_0000, 0x2000_0000


class Case:
    """A space with memory to be read and written, and memory that is only read; nothing of it is present."""

    def __init__(self, machine: Any, raw_driver: Any) -> None:
        self.machine = machine
        self.space = machine.new_space("case", residency=Residency.COLD)
        machine.map_memory(self.space, VA, 16 * PAGE)
        machine.map_memory(self.space, READ_ONLY, 4 * PAGE, writable=False)
        self.space.grant(VA, 16 * PAGE, writable=True)
        self.space.grant(READ_ONLY, 4 * PAGE, writable=True)
        self.driver = raw_driver(machine, space=self.space)


def unmapped(case: Case) -> None:
    case.space.remove(VA >> 12, (VA >> 12) + 1)


def exhausted(case: Case) -> None:
    with contextlib.suppress(MemoryError):
        while True:
            case.machine.chip.memory.ram.allocate(PAGE)


def nothing(case: Case) -> None:
    pass


@pytest.fixture
def case(new_machine: Any, raw_driver: Any) -> Case:
    return Case(new_machine(ram=16), raw_driver)


@pytest.mark.parametrize(
    ("before", "source", "destination", "status"),
    [
        pytest.param(unmapped, VA, VA + 8 * PAGE, 3, id="no region at address"),
        pytest.param(nothing, VA, READ_ONLY, 3, id="write to a read-only region"),
        pytest.param(nothing, READ_ONLY, VA, 0, id="page made present"),
        pytest.param(exhausted, VA, VA + 8 * PAGE, 3, id="allocation failed in the fault path"),
    ],
)
def test_verdicts(
    case: Case, before: Callable[[Case], None], source: int, destination: int, status: int
) -> None:
    before(case)
    (sqe,) = case.driver.run(case.driver.entry(source, 100, destination, 300))
    assert sqe[3] == status
    answer = FaultResponse.INVALID if status else FaultResponse.SUCCESS
    assert case.machine.faults.counters.answers[answer]
    assert case.machine.lost(ZIP.name) is None
    case.driver.file.close()
    case.space.close()
    assert case.machine.chip.frames.live == 0


def test_address_space_already_gone(case: Case) -> None:
    """It goes while the record of a fault waits to be read."""
    machine = case.machine
    machine.chip.lose["smmu events"] = 1
    case.driver.submit(case.driver.entry(VA, 100, VA + 8 * PAGE, 300))
    machine.run()
    assert machine.iommu.has_events
    case.space.exit()
    machine.advance(1.0)
    ((_, sqe),) = case.driver.completions()
    assert sqe[3] == 3
    assert machine.faults.counters.answers == {FaultResponse.INVALID: 1}
    case.driver.file.close()


def test_what_comes_late_aborts_quietly(case: Case) -> None:
    """No record, no stall; the descriptor stays valid until the last queue is closed. (Linux: its mm release callback.)"""
    machine, space, driver = case.machine, case.space, case.driver
    assert space.pasid is not None
    (sqe,) = driver.run(driver.entry(VA, 100, VA + 8 * PAGE, 300))
    assert sqe[3] == 0  # Pages are in the TLB.
    taken, syncs = machine.faults.counters.taken, machine.chip.smmu.statistics.syncs
    space.exit()
    assert machine.chip.smmu.statistics.syncs > syncs
    at = machine.iommu.descriptor(ZIP.stream, space.pasid)
    cd = ContextDescriptor.unpack(machine.chip.memory.read(at, 64))
    assert (cd.v, cd.epd0, cd.epd1, cd.s, cd.r, cd.a, cd.asid) == (1, 1, 1, 0, 0, 1, space.asid)
    for source in (VA, VA + PAGE, READ_ONLY):
        (sqe,) = driver.run(driver.entry(source, 100, VA + 8 * PAGE, 300))
        assert sqe[3] == 3
    assert machine.faults.counters.taken == taken
    assert not machine.faults.counters.other_events
    assert machine.chip.frames.stale_access == 0
    driver.file.close()
    assert not ContextDescriptor.unpack(machine.chip.memory.read(at, 64)).v


def test_others_hear_nothing_of_an_exit(case: Case, raw_driver: Any) -> None:
    other = case.machine.new_space("other", residency=Residency.COLD)
    case.machine.map_memory(other, VA, 16 * PAGE)
    other.grant(VA, 16 * PAGE, writable=True)
    neighbour = raw_driver(case.machine, space=other)
    case.space.exit()
    (sqe,) = neighbour.run(neighbour.entry(VA, 100, VA + 8 * PAGE, 300))
    assert sqe[3] == 0
    assert case.machine.faults.counters.answers[FaultResponse.SUCCESS]
