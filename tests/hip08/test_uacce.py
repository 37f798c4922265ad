"""The file layer as the kernel shows it: states, errnos, regions, discovery."""

import dataclasses
import errno
import json
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wdasync.faults import FaultResponse, PageFault
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.hisi_qm import share_bytes
from wdasync_hip08.machine import SECONDS, STEPS, Machine
from wdasync_hip08.memory import PAGE
from wdasync_hip08.qm.contexts import AeqType
from wdasync_hip08.qm.registers import Mailbox, MailboxCommand
from wdasync_uacce.files import NodeFlag, RegionKind


@contextmanager
def raises_errno(number: int) -> Iterator[None]:
    """The error numbers are the interface."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == number, f"expected {errno.errorcode[number]}, got {caught.value}"


def test_attributes(machine: Machine) -> None:
    nodes = machine.discover()
    assert [node.name for node in nodes] == ["hisi_hpre-0", "hisi_sec2-0", "hisi_zip-0"]
    node = nodes[-1]
    assert node.name == ZIP.name
    assert node.api == "hisi_qm_v2"
    assert node.flags == NodeFlag.SVA
    assert node.algorithms == ("zlib", "gzip")
    assert node.attributes["algorithms"] == "zlib\ngzip\n"
    assert node.mmio_size == 8192
    assert share_bytes(128, 1024) == 151_552
    names = {
        "api", "flags", "algorithms", "available_instances", "region_mmio_size", "region_dus_size", "isolate",
        "isolate_strategy", "dev_state", "node_id", "numa_distance", "device/numa_node",
    }  # fmt: skip
    assert set(node.attributes) == names
    assert all(text.endswith("\n") for text in node.attributes.values())
    assert node.attributes["numa_distance"] == "10\n"
    before = node.available_instances
    file = machine.open(ZIP.name)
    assert machine.discover()[-1].available_instances == before - 1
    file.close()
    assert machine.discover()[-1].available_instances == before


class TestStates:
    def test_start_once(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        assert file.set_queue_type(0) == file.queue.number  # type: ignore[union-attr]  # it is open
        file.start()
        with raises_errno(errno.EINVAL):
            file.start()
        with raises_errno(errno.EINVAL):
            file.set_queue_type(0)
        file.close()

    @pytest.mark.parametrize("started", [False, True])
    def test_put_is_the_end(self, machine: Machine, started: bool) -> None:
        file = machine.open(ZIP.name)
        share = file.map(RegionKind.DUS)
        if started:
            file.start()
        file.put()
        for call in (file.start, file.put, file.queue_info, lambda: file.set_queue_type(0)):
            with raises_errno(errno.ENXIO):
                call()
        with raises_errno(errno.ENXIO):
            file.map(RegionKind.MMIO)
        assert not select.select([file], [], [], 0)[0]
        if started:
            assert (share.load32(share.size - 8), share.load32(share.size - 4)) == (1, 1)
        file.unmap(share)
        file.close()
        file.close()

    def test_newer_kernels_start_again(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine(restartable=True)
        space = machine.new_space("again")
        machine.map_memory(space, 0x10000, 0x2000)
        space.grant(0x10000, 0x2000, writable=True)
        driver = raw_driver(machine, space=space)
        entry = driver.entry(0x10000, 100, 0x11000, 200)
        assert len(driver.run(entry, entry)) == 2
        driver.file.put()
        driver.file.start()
        driver.tail = driver.head = 0
        driver.phase = 1
        assert driver.status() == (0, 0)
        assert len(driver.run(entry)) == 1

    def test_an_entry_may_be_written_before_the_start(self, machine: Machine, raw_driver: Any) -> None:
        driver = raw_driver(machine, start=False)
        driver.submit(driver.entry(0, 0, 0, 0, tag=0x51DE), ring=False)
        driver.file.start()
        driver.ring(0, 1)
        machine.run()
        ((slot, sqe),) = driver.completions()
        assert (slot, sqe[13]) == (0, 0x51DE)

    @pytest.mark.parametrize("queue_type", [2, -1, 0xFFFF])
    def test_queue_types(self, machine: Machine, queue_type: int) -> None:
        file = machine.open(ZIP.name)
        with raises_errno(errno.EINVAL):
            file.set_queue_type(queue_type)
        file.set_queue_type(1)
        with raises_errno(errno.EINVAL):
            file.set_queue_type(1)
        file.close()

    def test_the_shape_of_the_rings(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        assert file.queue_info() == (128, 64, 64)
        file.close()


VECTORS = json.loads((Path(__file__).parents[1] / "uacce" / "vectors.json").read_text())

#: No such call of the file layer, so no such row.
ABSENT = {"mremap of a region"}


@pytest.mark.parametrize(
    "row", [row for row in VECTORS["uacce_states"] if row["action"] not in ABSENT], ids=lambda row: row["id"]
)
def test_the_table_of_states(machine: Machine, row: dict[str, str]) -> None:
    file = machine.open(ZIP.name)
    if row["state"] == "STARTED":
        file.start()
    elif row["state"] == "ZOMBIE":
        file.put()
    actions: dict[str, Callable[[], object]] = {
        "START_Q": file.start,
        "PUT_Q": file.put,
        "mmap": lambda: file.map(RegionKind.DUS),
        "mmap region 0 (MMIO)": lambda: file.map(RegionKind.MMIO),
        "mmap region 0": lambda: file.map(RegionKind.MMIO),
        "mmap region 7": lambda: file.map(7),  # type: ignore[arg-type]  # no region
        "poll": lambda: len(select.select([file], [], [], 0)[0]),
        "device removed": lambda: machine.remove(ZIP.name),
    }
    action = actions[row["action"].removesuffix(" again")]
    if row["action"].endswith("again"):
        action()
    result = row["result"]
    if result.startswith("mappings withdrawn"):
        regions = [file.map(kind) for kind in (RegionKind.DUS, RegionKind.MMIO)]
        action()
        for region in regions:
            with raises_errno(errno.ENXIO):
                region.load64(0)
    elif result.startswith("E"):
        with raises_errno(getattr(errno, result)):
            action()
    elif result == "0":
        assert action() == 0
    else:
        action()
    assert file.state.name == row["next"]
    assert file.queue.started is (row["next"] == "STARTED")  # type: ignore[union-attr]  # it is open
    file.close()


class TestOpening:
    def test_no_such_node(self, machine: Machine) -> None:
        with raises_errno(errno.ENOENT):
            machine.open("hisi_sec2-1")

    def test_all_queues_taken(self, new_machine: Any) -> None:
        machine = new_machine(queues=3)
        files = [machine.open(ZIP.name) for _ in range(3)]
        with raises_errno(errno.EBUSY):
            machine.open(ZIP.name)
        assert machine.process.users.total() == 3
        files[1].close()
        machine.open(ZIP.name).close()
        for file in files:
            file.close()
        assert not machine.bindings.pasids.used

    def test_no_memory_for_rings(self, new_machine: Any) -> None:
        machine = new_machine(depth=1024, ram=16, queues=1024)
        with raises_errno(errno.ENOMEM):
            for _ in range(1024):
                machine.open(ZIP.name)
        for file in list(machine.nodes[ZIP.name].files.values()):
            file.close()
        machine.open(ZIP.name).close()

    def test_pasids_run_out_and_come_back(self, machine: Machine) -> None:
        machine.bindings.pasids._next = 0xFFFF
        first, second = machine.new_space("a"), machine.new_space("b")
        file = machine.open(ZIP.name, first)
        with raises_errno(errno.ENOSPC):
            machine.open(ZIP.name, second)
        file.close()
        machine.open(ZIP.name, second).close()


class TestRegions:
    def test_mapping(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        share = file.map(RegionKind.DUS)
        with raises_errno(errno.EEXIST):
            file.map(RegionKind.DUS)
        with raises_errno(errno.EINVAL):
            file.map(RegionKind.STATIC_SHARE)
        file.unmap(share)
        with pytest.raises(ValueError, match="not mapped any more"):
            share.load32(0)
        with pytest.raises(ValueError, match="mapped"):
            file.unmap(share)
        file.map(RegionKind.DUS)
        file.close()

    @pytest.mark.parametrize("offset", [-8, 4, 1, 1 << 20])
    def test_bad_offsets(self, machine: Machine, offset: int) -> None:
        file = machine.open(ZIP.name)
        for kind in (RegionKind.DUS, RegionKind.MMIO):
            region = file.map(kind)
            with pytest.raises(ValueError, match=kind.name):
                region.store64(offset, 0)
            with pytest.raises(ValueError, match=kind.name):
                region.load64(offset)
        file.close()

    def test_share_is_memory_seen_twice(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        share = file.map(RegionKind.DUS)
        assert share.kind is RegionKind.DUS
        assert share.size == machine.discover()[-1].dus_size
        share.store64(64, 0x0102030405060708)
        share.store32(72, 7)
        assert file.queue is not None
        assert machine.chip.memory.ram.read(file.queue.share.pa + 64, 12) == bytes.fromhex(
            "080706050403020107000000"
        )
        assert share.read(72, 4) == b"\7\0\0\0"
        share.write(72, b"ab")
        assert share.load32(72) == int.from_bytes(b"ab\0\0", "little")
        assert share.load64(64) == 0x0102030405060708
        assert share.view is not None
        with pytest.raises(ValueError, match="within"):
            share.read(share.size - 1, 2)
        file.close()

    def test_the_doorbell_page_is_a_call(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        page = file.map(RegionKind.MMIO)
        assert (page.address, page.view, page.size) == (None, None, 8192)
        page.store64(0x1000, 0)
        page.store64(0x1000, 0)
        page.store32(0x1000, 0)
        page.store64(0x0, 0)
        assert machine.chip.blocks[ZIP.name].qm.doorbells == 2
        with pytest.raises(ValueError, match="one aligned store"):
            page.write(0x1000, bytes(8))
        assert page.load64(0x1000) == page.load32(0x1000) == 0
        assert page.read(0, 4) == bytes(4)
        file.close()


class TestRemoval:
    def test_the_device_goes_away(self, machine: Machine, raw_driver: Any) -> None:
        space = machine.new_space("left behind")
        machine.map_memory(space, 0x10000, 0x2000)
        space.grant(0x10000, 0x2000, writable=True)
        driver = raw_driver(machine, space=space)
        driver.submit(driver.entry(0x10000, 100, 0x11000, 200))
        machine.remove(ZIP.name, "unplugged")
        assert machine.lost(ZIP.name) == "unplugged"
        assert select.select([driver.file], [], [], 0)[0]
        for call in (driver.file.start, driver.status, driver.completions, lambda: driver.ring(0, 5)):
            with raises_errno(errno.ENXIO):
                call()
        machine.run()
        with raises_errno(errno.ENODEV):
            machine.open(ZIP.name)
        with raises_errno(errno.EBUSY):
            machine.reset(ZIP.name)
        driver.file.close()
        machine.reset(ZIP.name)
        assert machine.lost(ZIP.name) is None
        machine.open(ZIP.name).close()

    def test_its_faults_are_refused_at_once(self, new_machine: Any, raw_driver: Any) -> None:
        """Not when its last queue is closed; and those of another device wait as before."""

        async def never(fault: PageFault) -> FaultResponse:
            raise AssertionError("nobody serves")

        reported: list[PageFault] = []
        other = dataclasses.replace(ZIP, name="other", stream=ZIP.stream + 8)
        machine = new_machine(
            never, reported.append, (ZIP, other), residency="cold", fault_deadline=0, stall_quota=2, window=4
        )
        space = machine.new_space("left behind")
        machine.map_memory(space, 0x10000, 8 * PAGE)
        space.grant(0x10000, 8 * PAGE, writable=True)
        drivers = [raw_driver(machine, name=name, space=space) for name in (ZIP.name, ZIP.name, "other")]
        for driver in drivers:
            driver.submit(*[driver.entry(0x10000, 100, 0x14000, 200)] * 2)
            machine.run()
        ours = [fault for fault in machine.faults.pending.values() if fault.sid == ZIP.stream]
        machine.faults.give_up((ZIP.stream, drivers[1].number, 5))
        assert len(ours) == 2
        assert len(machine.faults.pending) == 4
        machine.remove(ZIP.name)
        assert {fault.sid for fault in machine.faults.pending.values()} == {other.stream}
        assert len(machine.faults.pending) == 2
        machine.run()
        machine.program.report()
        assert {stall.access.sid for stall in machine.chip.smmu.stalls.pending()} == {other.stream}
        assert [(fault.device, fault.response) for fault in reported] == [
            (ZIP.name, FaultResponse.INVALID)
        ] * 2
        drivers[0].file.give_up(5)  # Whoever has the slot next has not been given up.
        assert not machine.faults._given_up
        for driver in drivers[:2]:
            driver.file.close()
        assert len(machine.faults.pending) == 2

    def test_a_defect_of_the_model_is_a_lost_device(
        self, machine: Machine, raw_driver: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        driver = raw_driver(machine)
        monkeypatch.setattr(machine.chip.blocks[ZIP.name].engine, "process", lambda *args: 1 // 0)
        driver.submit(driver.entry(0, 0, 0, 0))
        assert machine.pump() is False
        assert "ZeroDivisionError" in str(machine.lost(ZIP.name))
        assert "defect" in caplog.text
        driver.file.close()


class TestRefusals:
    """Contexts are kept in a table; its address is broken, so the chip cannot take them away."""

    @pytest.fixture
    def driver(self, new_machine: Any, raw_driver: Any) -> Any:
        driver = raw_driver(new_machine(restartable=True))
        driver.machine.nodes[ZIP.name].qm.mailbox(Mailbox(MailboxCommand.SQ_TABLE, 0, 1 << 40))
        return driver

    def test_in_an_interrupt(self, driver: Any, caplog: Any) -> None:
        driver.machine.chip.blocks[ZIP.name].qm.events.abnormal(AeqType.CQ_OVERFLOW, driver.number)
        driver.machine.run()
        self.lost(driver, caplog)

    def test_at_a_put(self, driver: Any, caplog: Any) -> None:
        driver.file.put()
        self.lost(driver, caplog)

    def test_at_a_close(self, driver: Any, caplog: Any) -> None:
        driver.file.close()
        self.lost(driver, caplog)

    def test_of_a_context(self, driver: Any, caplog: Any) -> None:
        """The driver cannot tell whether a queue has drained."""
        machine = driver.machine
        scratch = machine.nodes[ZIP.name].qm._scratch.iova >> 12
        machine.nodes[ZIP.name].dma.table.set(scratch, 0)
        machine.iommu.invalidate(machine.nodes[ZIP.name].dma.asid, [scratch])
        driver.file.put()
        self.lost(driver, caplog)

    def lost(self, driver: Any, caplog: Any) -> None:
        machine = driver.machine
        assert "command 0 for queue 0 was refused" in str(machine.lost(ZIP.name))
        assert "defect" not in caplog.text
        assert "refused" in caplog.text
        with raises_errno(errno.ENXIO):
            driver.file.start()
        driver.file.close()
        machine.reset(ZIP.name)
        machine.open(ZIP.name).close()


@pytest.mark.parametrize(("clock", "steps"), [("real", 1), ("virtual", STEPS)])
def test_a_pump_keeps_nobody_long(
    new_machine: Any, monkeypatch: pytest.MonkeyPatch, clock: str, steps: int
) -> None:
    """Under a virtual clock what happens must not depend on how fast the machine is."""
    machine = new_machine(clock=clock)
    done = 0

    def slow() -> bool:
        nonlocal done
        done += 1
        if clock == "real":
            time.sleep(2 * SECONDS)
        return True

    monkeypatch.setattr(machine.chip, "step", slow)
    assert machine.pump()
    assert done == steps


def test_whether_a_queue_has_drained_is_read_from_its_contexts(
    new_machine: Any, raw_driver: Any, tmp_path: Any
) -> None:
    machine = new_machine(trace=str(tmp_path / "trace.txt"))
    driver = raw_driver(machine)
    entry = driver.entry(0, 0, 0, 0)
    for laps in (1, 40, 70):  # The tails wrap, and their wrap bits have to agree too.
        assert len(driver.run(*[entry] * min(laps, 60))) == min(laps, 60)
        assert machine.nodes[ZIP.name].qm.drained(driver.file.queue)
    machine.chip.blocks[ZIP.name].engine.stuck = True
    driver.submit(entry)
    machine.run()
    assert not machine.nodes[ZIP.name].qm.drained(driver.file.queue)
    before = len(machine.trace.events)
    driver.file.put()
    asked = [event for event in list(machine.trace.events)[before:] if event.name == "mailbox"]
    commands = [event.details["command"] for event in asked if event.details["read"]]
    assert {MailboxCommand.SQ_CONTEXT, MailboxCommand.CQ_CONTEXT} == set(commands)
    assert {event.details["queue"] for event in asked} == {driver.number}
    assert machine.nodes[ZIP.name].reset_queues == 1


def test_a_queue_that_does_not_drain_is_reset(new_machine: Any, raw_driver: Any, caplog: Any) -> None:
    machine = new_machine()
    driver, other = raw_driver(machine), raw_driver(machine)
    machine.chip.blocks[ZIP.name].engine.stuck = True
    driver.submit(*[driver.entry(0, 0, 0, 0)] * 10)
    machine.run()
    machine.chip.blocks[ZIP.name].engine.stuck = False
    assert len(other.run(other.entry(0, 0, 0, 0))) == 1
    driver.file.put()
    assert machine.nodes[ZIP.name].reset_queues == 1
    assert "did not drain" in caplog.text
    assert not machine.chip.tasks.alive
    driver.file.close()
