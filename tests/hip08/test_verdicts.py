"""What the kernel's own handler answers: the golden scenario IO7.

Two of its rows have no case here: what is granted can be read, and this device executes nothing.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from wdasync.faults import FaultResponse
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.machine import NODE
from wdasync_hip08.memory import PAGE

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


def gone(case: Case) -> None:
    case.space.exit()


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
        pytest.param(gone, VA, VA + 8 * PAGE, 3, id="address space already gone"),
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
    assert case.machine.lost(NODE) is None
    case.driver.file.close()
    case.space.close()
    assert case.machine.chip.frames.live == 0
