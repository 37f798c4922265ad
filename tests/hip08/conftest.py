"""A driver as thin as can be: it writes raw descriptors, rings raw doorbells and reads raw completions."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from wdasync_hip08.functions import FUNCTIONS, ZIP
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.machine import Machine
from wdasync_hip08.options import Options
from wdasync_uacce.files import RegionKind

from .lone_machine import LoneMachine

SQE, CQE = 128, 16
ZLIB, GZIP = 2, 3


def words(data: bytes) -> list[int]:
    return list(struct.unpack("<32I", data))


class RawDriver:
    """One queue of one space. Addresses are the device's."""

    def __init__(
        self,
        machine: Machine,
        *,
        name: str = ZIP.name,
        queue_type: int = 0,
        space: Space | None = None,
        start: bool = True,
    ) -> None:
        self.machine = machine
        self.file = machine.open(name, space)
        self.share = self.file.map(RegionKind.DUS)
        self.doorbell = self.file.map(RegionKind.MMIO)
        self.number = self.file.set_queue_type(queue_type)
        self.depth = self.file.queue_info().sq_depth
        if start:
            self.file.start()
        self.tail = self.head = 0
        self.phase = 1

    def entry(
        self,
        source: int,
        length: int,
        destination: int,
        capacity: int,
        *,
        fmt: int = GZIP,
        tag: int = 0,
        **fields: int,
    ) -> bytes:
        """A block-mode descriptor of type 0; ``dw9=…`` and the like replace whole words."""
        sqe = [0] * 32
        sqe[4], sqe[14], sqe[13] = length, capacity, tag
        sqe[7] = 1 << 25 | 1 << 27
        sqe[9] = fmt | 4 << 12
        sqe[18], sqe[19] = source & 0xFFFFFFFF, source >> 32
        sqe[20], sqe[21] = destination & 0xFFFFFFFF, destination >> 32
        for name, value in fields.items():
            sqe[int(name[2:])] = value
        return struct.pack("<32I", *sqe)

    def ring(
        self, command: int, index: int, priority: int = 0, queue: int | None = None, tag: int = 0
    ) -> None:
        number = self.number if queue is None else queue
        self.doorbell.store64(0x1000, number | command << 12 | tag << 16 | index << 32 | priority << 48)

    def submit(self, *entries: bytes, ring: bool = True) -> None:
        for sqe in entries:
            self.share.write(self.tail * SQE, sqe)
            self.tail = (self.tail + 1) % self.depth
        if ring:
            self.ring(0, self.tail)

    def arm(self) -> None:
        self.ring(1, self.head, priority=1)

    def completions(self) -> list[tuple[int, list[int]]]:
        """(SQ index, words of the entry) of everything that is complete; the CQ doorbell is rung for it."""
        found = []
        base = self.depth * SQE
        while True:
            cqe = self.share.read(base + self.head * CQE, CQE)
            if cqe[14] & 1 != self.phase:
                break
            slot, queue = struct.unpack_from("<HH", cqe, 8)
            assert queue == self.number
            found.append((slot, words(self.share.read(slot * SQE, SQE))))
            self.head = (self.head + 1) % self.depth
            self.phase ^= self.head == 0
        if found:
            self.ring(1, self.head)
        return found

    def run(self, *entries: bytes) -> list[list[int]]:
        """Submit, go on until nothing happens any more, and collect."""
        self.submit(*entries)
        self.machine.run()
        return [sqe for _, sqe in self.completions()]

    def status(self) -> tuple[int, int]:
        """(receive side stopped, send side stopped), the last two words of the region."""
        return self.share.load32(self.share.size - 8), self.share.load32(self.share.size - 4)


@pytest.fixture
def raw_driver() -> type[RawDriver]:
    return RawDriver


@pytest.fixture
def new_machine() -> Iterator[Any]:
    """Makes machines under a virtual clock, unless it is told otherwise."""
    machines: list[LoneMachine] = []

    def make(
        handler: Any = None, reporter: Any = None, functions: Any = FUNCTIONS, **options: Any
    ) -> LoneMachine:
        machine = LoneMachine(
            Options(**{"clock": "virtual", "depth": 64, "ram": 32} | options),
            functions,
            handler=handler,
            reporter=reporter,
        )
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.close()


@pytest.fixture
def machine(new_machine: Any) -> Machine:
    return new_machine()
