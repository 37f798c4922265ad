"""Several devices on one chip: two engines of one kind and one of another behind one SMMU."""

import dataclasses
import errno
import struct
from typing import Any

import anyio
import pytest

from wdasync.faults import FaultResponse, PageFault
from wdasync_hip08 import dump
from wdasync_hip08.functions import ZIP, Function
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.machine import Machine
from wdasync_hip08.memory import PAGE
from wdasync_hip08.port import DmaAbort, Port
from wdasync_hip08.qm.contexts import SqContext
from wdasync_hip08.qm.pairs import User
from wdasync_hip08.qm.registers import MailboxCommand
from wdasync_hip08.tasks import Life, Task
from wdasync_hip08.trace import Trace
from wdasync_uacce.files import RegionKind

VA = 0x1234_5000
ADDER_BYTES = 64


class Adder:
    """Adds up bytes. An entry is address, length, and room for the sum and whether memory answered."""

    entry_bytes = ADDER_BYTES

    def __init__(self, port: Port, trace: Trace, generation: int) -> None:
        self.stuck = False
        self._port = port

    def process(self, entry: bytes, context: SqContext, user: User, task: Task) -> Life:
        address, length = struct.unpack_from("<QQ", entry)
        try:
            data = yield from self._port.read(user.read, address, length, task)
        except DmaAbort:
            return struct.pack("<4Q", address, length, 0, 1).ljust(ADDER_BYTES, b"\0")
        return struct.pack("<4Q", address, length, sum(data), 0).ljust(ADDER_BYTES, b"\0")

    def __repr__(self) -> str:
        return "<Adder>"


SECOND = dataclasses.replace(ZIP, name="hisi_zip-1", stream=0xB500)
ADDER = Function("test_adder-0", 0x7501, ("sum",), ADDER_BYTES, Adder)
FUNCTIONS = (ZIP, SECOND, ADDER)


class Sums:
    """A queue of the adder."""

    def __init__(self, machine: Machine, space: Any) -> None:
        self.machine = machine
        self.file = machine.open(ADDER.name, space)
        self.share, self.doorbell = self.file.map(RegionKind.DUS), self.file.map(RegionKind.MMIO)
        self.number = self.file.set_queue_type(0)
        self.file.start()
        self.tail = 0

    def submit(self, address: int, length: int) -> None:
        self.share.write(self.tail * ADDER_BYTES, struct.pack("<QQ", address, length))
        self.tail += 1
        self.doorbell.store64(0x1000, self.number | self.tail << 32)

    def add(self, address: int, length: int) -> int | None:
        """The sum; ``None``: memory refused."""
        self.submit(address, length)
        self.machine.run()
        return self.answer()

    def answer(self) -> int | None:
        *_, total, failed = struct.unpack("<4Q", self.share.read((self.tail - 1) * ADDER_BYTES, 32))
        return None if failed else total


@pytest.fixture
def machine(new_machine: Any) -> Machine:
    return new_machine(functions=FUNCTIONS)


def program(machine: Machine, name: str = "program", residency: Residency = Residency.MIRROR) -> Any:
    space = machine.new_space(name, residency=residency)
    machine.map_memory(space, VA, 16 * PAGE).poke(0, b"\1" * 8 * PAGE)
    space.grant(VA, 16 * PAGE, writable=True)
    return space


def works(driver: Any) -> bool:
    (sqe,) = driver.run(driver.entry(VA, PAGE, VA + 8 * PAGE, PAGE))
    return bool(sqe[3] == 0)


def test_each_is_a_node_of_its_own(machine: Machine, raw_driver: Any) -> None:
    nodes = machine.discover()
    assert [node.name for node in nodes] == ["hisi_zip-0", "hisi_zip-1", "test_adder-0"]
    assert [node.algorithms for node in nodes] == [("zlib", "gzip"), ("zlib", "gzip"), ("sum",)]
    assert nodes[2].attributes["algorithms"] == "sum\n"
    assert nodes[2].dus_size < nodes[0].dus_size
    with pytest.raises(OSError, match="hisi_zip-0, hisi_zip-1, test_adder-0") as caught:
        machine.open("hisi_zip-2")
    assert caught.value.errno == errno.ENOENT
    drivers = [raw_driver(machine, name=name) for name in (ZIP.name, SECOND.name)]
    assert [driver.number for driver in drivers] == [0, 0]
    assert [node.available_instances for node in machine.discover()] == [63, 63, 64]


def test_queues_of_one_number_do_not_meet(machine: Machine, raw_driver: Any) -> None:
    space = program(machine)
    first, second = (raw_driver(machine, name=name, space=space) for name in (ZIP.name, SECOND.name))
    sums = Sums(machine, space)
    assert first.number == second.number == sums.number == 0
    for _ in range(3):
        first.submit(first.entry(VA, PAGE, VA + 8 * PAGE, PAGE))
    second.submit(second.entry(VA, PAGE, VA + 9 * PAGE, PAGE))
    assert sums.add(VA, 2 * PAGE) == 2 * PAGE
    assert (len(first.completions()), len(second.completions())) == (3, 1)
    blocks = machine.chip.blocks
    assert [blocks[function.name].qm.completed for function in FUNCTIONS] == [3, 1, 1]


def test_no_function_waits_for_another(machine: Machine, raw_driver: Any) -> None:
    """Entries are fetched in turn, however many one of them has waiting."""
    space = program(machine)
    busy, sums = raw_driver(machine, space=space), Sums(machine, space)
    busy.submit(*[busy.entry(VA, PAGE, VA + 8 * PAGE, PAGE)] * 60)
    sums.submit(VA, PAGE)
    while not machine.chip.blocks[ADDER.name].qm.completed:
        assert machine.pump(1)
    assert machine.chip.blocks[ZIP.name].qm.completed <= 4


class TestOneSpace:
    def contexts(self, machine: Machine, *drivers: tuple[str, Any]) -> list[int]:
        return [
            SqContext.unpack(
                machine.nodes[name].qm.read_context(MailboxCommand.SQ_CONTEXT, driver.number)
            ).pasid
            for name, driver in drivers
        ]

    def test_has_one_pasid(self, machine: Machine, raw_driver: Any) -> None:
        drivers = [
            (ZIP.name, raw_driver(machine)),
            (SECOND.name, raw_driver(machine, name=SECOND.name)),
            (ADDER.name, Sums(machine, None)),
        ]
        pasid = machine.process.pasid
        assert self.contexts(machine, *drivers) == [pasid] * 3
        assert machine.spaces == {pasid: machine.process}
        other = program(machine, "other")
        driver = raw_driver(machine, name=SECOND.name, space=other)
        assert self.contexts(machine, (SECOND.name, driver)) != [pasid]

    def test_has_it_until_its_last_queue_is_closed(
        self, new_machine: Any, raw_driver: Any, tmp_path: Any
    ) -> None:
        machine = new_machine(functions=FUNCTIONS, trace=str(tmp_path / "trace.txt"))
        space = program(machine)
        first, second = (raw_driver(machine, name=name, space=space) for name in (ZIP.name, SECOND.name))
        pasid, memory = space.pasid, machine.chip.memory
        descriptors = [machine.iommu.descriptor(stream, pasid) for stream in (ZIP.stream, SECOND.stream)]
        assert all(memory.read64(pa) >> 31 & 1 for pa in descriptors)
        first.file.close()
        assert [memory.read64(pa) >> 31 & 1 for pa in descriptors] == [0, 1]
        assert pasid in machine.bindings.pasids.used
        assert works(second)
        second.file.close()
        assert not machine.bindings.pasids.used
        assert [event.name for event in machine.trace.events if event.name in ("CD cleared", "PASID free")] == [
            "CD cleared", "CD cleared", "PASID free",
        ]  # fmt: skip

    def test_shares_translations(self, machine: Machine, raw_driver: Any) -> None:
        """What one function's access has brought into the TLB, another's finds; and an unmap takes it from both."""
        space = program(machine)
        driver, sums = raw_driver(machine, space=space), Sums(machine, space)
        statistics = machine.chip.smmu.statistics
        assert works(driver)
        assert sums.add(VA + 4 * PAGE, PAGE) == PAGE  # Its rings are in the TLB now.
        walks, hits = statistics.walks, statistics.tlb_hits
        assert sums.add(VA, PAGE) == PAGE
        assert statistics.walks == walks
        assert statistics.tlb_hits > hits
        space.remove(VA >> 12, (VA >> 12) + 1)
        assert sums.add(VA, PAGE) is None
        (sqe,) = driver.run(driver.entry(VA, PAGE, VA + 8 * PAGE, PAGE))
        assert sqe[3] == 3
        assert machine.chip.frames.stale_access == 0

    def test_is_seen_by_functions_alone_that_it_uses(self, machine: Machine, raw_driver: Any) -> None:
        """A PASID is none where its space has no queue."""
        space = program(machine)
        driver, other = raw_driver(machine, space=space), Sums(machine, program(machine, "other"))
        assert works(driver)
        port = machine.chip.blocks[ADDER.name].port
        with pytest.raises(DmaAbort):
            next(port.read(space.pasid, VA, 16))
        assert other.add(VA, PAGE) == PAGE


@pytest.mark.anyio
async def test_a_fault_names_its_device_and_finds_its_entry(new_machine: Any, raw_driver: Any) -> None:
    """Two entries of the same queue number and slot: one is refused, the other gets its page."""
    seen: list[PageFault] = []
    done = anyio.Event()

    async def handler(fault: PageFault) -> FaultResponse:
        seen.append(fault)
        if len(seen) == 3:
            done.set()
        return FaultResponse.INVALID if fault.device == ADDER.name else FaultResponse.SUCCESS

    machine = new_machine(handler, functions=FUNCTIONS)
    space = program(machine, residency=Residency.COLD)
    driver, sums = raw_driver(machine, space=space), Sums(machine, space)
    driver.submit(driver.entry(VA, 64, VA + PAGE, PAGE))
    sums.submit(VA + 2 * PAGE, 64)
    async with anyio.create_task_group() as group:
        group.start_soon(machine.serve)
        await done.wait()
        group.cancel_scope.cancel()
    assert sorted((fault.device, fault.address) for fault in seen) == [
        (ZIP.name, VA), (ZIP.name, VA + PAGE), (ADDER.name, VA + 2 * PAGE),
    ]  # fmt: skip
    ((_, sqe),) = driver.completions()
    assert (sqe[3], sums.answer()) == (0, None)
    assert (driver.file.faults(0), sums.file.faults(0)) == (2, 1)


class TestLoss:
    def test_of_one_leaves_the_others(self, machine: Machine, raw_driver: Any) -> None:
        space = program(machine)
        first, second = (raw_driver(machine, name=name, space=space) for name in (ZIP.name, SECOND.name))
        machine.remove(ZIP.name, "unplugged")
        assert [machine.lost(function.name) for function in FUNCTIONS] == ["unplugged", None, None]
        assert works(second)
        with pytest.raises(OSError, match="1 open") as caught:
            machine.reset(ZIP.name)
        assert caught.value.errno == errno.EBUSY
        first.file.close()
        machine.reset(ZIP.name)
        assert works(raw_driver(machine, space=space))
        assert works(second)

    def test_of_its_mind(self, machine: Machine, raw_driver: Any, caplog: Any) -> None:
        space = program(machine)
        first, second = (raw_driver(machine, name=name, space=space) for name in (ZIP.name, SECOND.name))
        node = machine.nodes[ZIP.name]
        scratch = node.qm._scratch.iova >> 12
        node.dma.table.set(scratch, 0)
        machine.iommu.invalidate(node.dma.asid, [scratch])
        first.file.put()
        assert "hisi_zip-0: mailbox" in caplog.text
        assert machine.lost(ZIP.name)
        assert works(second)
        before = machine.chip.memory.ram.allocated
        first.file.close()
        machine.reset(ZIP.name)
        machine.reset(ZIP.name)
        assert works(raw_driver(machine, space=space))
        assert machine.chip.memory.ram.allocated <= before

    def test_by_a_defect_is_of_all(
        self, machine: Machine, raw_driver: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = raw_driver(machine), raw_driver(machine, name=SECOND.name)
        monkeypatch.setattr(machine.chip.blocks[ZIP.name].engine, "process", lambda *args: 1 // 0)
        first.submit(first.entry(0, 0, 0, 0))
        machine.run()
        assert all("ZeroDivisionError" in str(machine.lost(function.name)) for function in FUNCTIONS)
        first.file.close()
        with pytest.raises(OSError, match="1 open"):
            machine.reset(ZIP.name)
        second.file.close()
        machine.reset(ZIP.name)
        assert [machine.lost(function.name) for function in FUNCTIONS] == [None] * 3
        for name in (ZIP.name, SECOND.name):
            assert works(raw_driver(machine, name=name, space=program(machine)))


def test_who_owns_a_function_owns_all(new_machine: Any, raw_driver: Any) -> None:
    """Where nothing bears a PASID there is one address space."""
    machine = new_machine(functions=FUNCTIONS, memory="function")
    first, second = raw_driver(machine), raw_driver(machine, name=SECOND.name)
    assert machine.process.pasid == 0
    with pytest.raises(OSError, match="nobody owns") as caught:
        machine.open(ADDER.name, machine.new_space("other"))
    assert caught.value.errno == errno.EBUSY
    data, out = b"x" * 5000, bytearray(PAGE)
    for driver in (first, second):
        space = driver.file.space
        source, destination = space.grant(data, False), space.grant(out, True)
        (sqe,) = driver.run(driver.entry(source, len(data), destination, PAGE))
        assert sqe[3] == 0
        space.revoke(source, len(data), False)
        space.revoke(destination, PAGE, True)


def test_no_memory_for_a_descriptor(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any, **options: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(machine.iommu, "bind", none)
    with pytest.raises(OSError, match="bind: no room") as caught:
        machine.open(ADDER.name)
    assert caught.value.errno == errno.ENOMEM
    assert not machine.bindings.pasids.used
    assert not machine.spaces


def test_all_of_them_are_dumped(machine: Machine, raw_driver: Any) -> None:
    drivers = [raw_driver(machine, name=name) for name in (ZIP.name, SECOND.name)]
    text = dump(machine)
    for part in ("<Node hisi_zip-1 there, 1 queues", "hisi_zip-0 queue 0: 64 entries", "hisi_zip-1 queue 0: 64 entries",
                 "stream 0x7500:", "stream 0xb500:", "<Block test_adder-0"):  # fmt: skip
        assert part in text
    assert "\n  stream 0x7501:" not in text
    assert "<Bindings {1: <Space process" in repr(machine.bindings)
    for driver in drivers:
        driver.file.close()
