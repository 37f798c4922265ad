"""The whole line: descriptor, doorbell, translation, work, completion, interrupt."""

import errno
import gzip
import os
import select
import zlib
from typing import Any

import pytest

from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel import hisi_qm
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.machine import Machine
from wdasync_hip08.qm.contexts import AeqType, EqContext
from wdasync_hip08.qm.registers import Mailbox, MailboxCommand

VA = 0x5555_0000_0000
GZIP_HEADER, ZLIB_HEADER = 10, 2


def gzip_of(body: bytes) -> bytes:
    return bytes.fromhex("1f8b0800000000000003") + body


@pytest.fixture
def memory(machine: Machine) -> Any:
    space = machine.new_space("test")
    memory = machine.map_memory(space, VA, 64 * 4096)
    space.grant(VA, 64 * 4096, writable=True)
    return space, memory


class TestBlockMode:
    def test_compresses_what_everybody_decompresses(
        self, machine: Machine, memory: Any, raw_driver: Any
    ) -> None:
        space, data = memory
        text = b"the same words again and again. " * 300
        data.poke(100, text)
        driver = raw_driver(machine, space=space)
        (sqe,) = driver.run(driver.entry(VA + 100, len(text), VA + 0x8000, 0x4000, tag=0xABCDEF01))
        consumed, produced, _, status = sqe[:4]
        assert (status, consumed) == (0, len(text))
        assert gzip.decompress(gzip_of(data.peek(0x8000, produced))) == text
        assert sqe[30] == len(text)

    def test_host_fields_survive(self, machine: Machine, memory: Any, raw_driver: Any) -> None:
        space, data = memory
        data.poke(0, b"a" * 1000)
        driver = raw_driver(machine, space=space)
        entry = driver.entry(
            VA, 1000, VA + 0x8000, 0x4000, tag=0x01020304, dw26=0x55AA55AA, dw10=7, dw24=9, dw17=3
        )
        before = list(memoryview(entry).cast("I"))
        (after,) = driver.run(entry)
        device = {0, 1, 2, 3, 15, 28, 29, 30, 31}
        assert [w for i, w in enumerate(after) if i not in device] == [
            w for i, w in enumerate(before) if i not in device
        ]

    @pytest.mark.parametrize(("fmt", "wbits", "skip"), [(3, 31, GZIP_HEADER), (2, 15, ZLIB_HEADER)])
    def test_decompresses_and_checks_the_trailer(
        self, machine: Machine, memory: Any, raw_driver: Any, fmt: int, wbits: int, skip: int
    ) -> None:
        space, data = memory
        text = os.urandom(3000) + b"x" * 70000
        packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
        packed = (packer.compress(text) + packer.flush())[skip:]
        data.poke(0, packed + b"behind the end")
        driver = raw_driver(machine, queue_type=1, space=space)
        entry = driver.entry(VA, len(packed) + 14, VA + 0x8000, 0x20000, fmt=fmt)
        (sqe,) = driver.run(entry)
        assert sqe[3] == 1 << 8
        assert sqe[:2] == [len(packed), len(text)]
        assert data.peek(0x8000, len(text)) == text
        check = zlib.adler32(text) if fmt == 2 else int(f"{zlib.crc32(text):032b}"[::-1], 2) ^ 0xFFFFFFFF
        assert sqe[31] == check
        data.poke(len(packed) - 1, bytes([packed[-1] ^ 1]))
        (sqe,) = driver.run(entry)
        assert sqe[3] & 0xFF == 0x10

    @pytest.mark.parametrize("cut", [1, 9, 100, -9, -8, -1])
    def test_a_truncated_stream_has_no_last_block(
        self, machine: Machine, memory: Any, raw_driver: Any, cut: int
    ) -> None:
        space, data = memory
        text = bytes(range(256)) * 8
        packed = gzip.compress(text)[GZIP_HEADER:][:cut]
        data.poke(0, packed)
        driver = raw_driver(machine, queue_type=1, space=space)
        (sqe,) = driver.run(driver.entry(VA, len(packed), VA + 0x8000, 0x20000))
        assert sqe[3] == 0
        assert sqe[0] == len(packed)

    @pytest.mark.parametrize("spare", [-1, 0, 1])
    def test_room_is_used_to_the_last_byte(
        self, machine: Machine, memory: Any, raw_driver: Any, spare: int
    ) -> None:
        space, data = memory
        text = os.urandom(5000)
        data.poke(0, gzip.compress(text)[GZIP_HEADER:])
        driver = raw_driver(machine, queue_type=1, space=space)
        (sqe,) = driver.run(driver.entry(VA, 0x4000, VA + 0x8000, len(text) + spare))
        assert sqe[3] == (0x0E if spare < 0 else 1 << 8)
        data.poke(0, text)
        packer = raw_driver(machine, space=space)
        (sqe,) = packer.run(packer.entry(VA, len(text), VA + 0x8000, 0x8000))
        assert sqe[3] == 0x0D  # Larger than the input, and good.
        (sqe,) = packer.run(packer.entry(VA, len(text), VA + 0x8000, sqe[1] + spare))
        assert sqe[3] == (0x0E if spare < 0 else 0x0D)

    def test_nothing_compresses_to_something(self, machine: Machine, memory: Any, raw_driver: Any) -> None:
        space, data = memory
        driver = raw_driver(machine, space=space)
        (sqe,) = driver.run(driver.entry(0, 0, VA, 100, fmt=2))
        assert zlib.decompress(b"\x78\x9c" + data.peek(0, sqe[1])) == b""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"fmt": 1}, {"fmt": 0}, {"fmt": 4}, {"dw9": 3 | 2 << 8 | 4 << 12}, {"dw9": 3 | 5 << 12},
            {"dw7": 1 << 28}, {"dw7": 1 << 26}, {"dw4": (8 << 20) + 1},
        ],
        ids=str,
    )  # fmt: skip
    def test_bad_descriptors_are_refused(
        self, machine: Machine, memory: Any, raw_driver: Any, wrong: dict[str, int]
    ) -> None:
        space, data = memory
        data.poke(0, b"good data")
        driver = raw_driver(machine, space=space)
        good = driver.entry(VA, 9, VA + 0x8000, 100)
        bad = driver.entry(VA, 9, VA + 0x8000, 100, **wrong)
        statuses = [sqe[3] for sqe in driver.run(good, bad, good)]
        assert statuses == [0x0D, 2, 0x0D]

    def test_data_that_is_no_deflate(self, machine: Machine, memory: Any, raw_driver: Any) -> None:
        space, data = memory
        data.poke(0, b"\xff" * 100)
        driver = raw_driver(machine, queue_type=1, space=space)
        (sqe,) = driver.run(driver.entry(VA, 100, VA + 0x8000, 100))
        assert sqe[3] == 1


class TestRings:
    def test_phases_over_three_laps(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine(depth=8)
        space = machine.new_space("laps")
        data = machine.map_memory(space, VA, 8 * 4096)
        space.grant(VA, 8 * 4096, writable=True)
        driver = raw_driver(machine, space=space)
        for number in range(40):
            data.poke(0, number.to_bytes(4, "little"))
            (sqe,) = driver.run(driver.entry(VA, 4, VA + 4096, 100, tag=number))
            assert sqe[13] == number
            assert gzip.decompress(gzip_of(data.peek(4096, sqe[1]))) == number.to_bytes(4, "little")
        assert driver.phase == 0 or driver.head == 0
        assert machine.chip.blocks[ZIP.name].qm.completed == 40

    @pytest.mark.parametrize("depth", [64, 1024])
    def test_a_full_ring(self, new_machine: Any, raw_driver: Any, depth: int) -> None:
        machine = new_machine(depth=depth)
        space = machine.new_space("full")
        data = machine.map_memory(space, VA, 2 * 4096)
        space.grant(VA, 2 * 4096, writable=True)
        data.poke(0, b"payload")
        driver = raw_driver(machine, space=space)
        for _ in range(3):
            entries = [driver.entry(VA, 7, VA + 4096, 100, tag=tag) for tag in range(depth - 1)]
            assert [sqe[13] for sqe in driver.run(*entries)] == list(range(depth - 1))

    def test_one_event_for_one_arming(self, machine: Machine, memory: Any, raw_driver: Any) -> None:
        space, _ = memory
        driver = raw_driver(machine, space=space)
        entry = driver.entry(VA, 100, VA + 0x8000, 200)
        driver.run(entry)
        assert driver.file.wakes == 0
        driver.arm()
        driver.run(entry, entry)
        assert driver.file.wakes == 1
        assert select.select([driver.file], [], [], 0)[0]
        driver.file.acknowledge()
        assert not select.select([driver.file], [], [], 0)[0]
        driver.run(entry)
        assert driver.file.wakes == 1

    def test_arming_late_finds_what_is_there(self, machine: Machine, memory: Any, raw_driver: Any) -> None:
        space, _ = memory
        driver = raw_driver(machine, space=space)
        driver.submit(driver.entry(VA, 100, VA + 0x8000, 200))
        machine.run()
        driver.arm()
        machine.run()
        assert driver.file.wakes == 1

    def test_a_lost_interrupt_loses_no_completion(
        self, machine: Machine, memory: Any, raw_driver: Any
    ) -> None:
        space, _ = memory
        driver = raw_driver(machine, space=space)
        driver.arm()
        machine.run()
        machine.chip.lose[f"{ZIP.name} eq"] = 1
        assert len(driver.run(driver.entry(VA, 100, VA + 0x8000, 200))) == 1
        assert driver.file.wakes == 0
        driver.arm()
        assert len(driver.run(driver.entry(VA, 100, VA + 0x8000, 200))) == 1
        assert driver.file.wakes == 1

    def test_a_lost_event_interrupt_stalls_nobody_for_ever(
        self, new_machine: Any, raw_driver: Any, caplog: Any
    ) -> None:
        machine = new_machine()
        drivers = []
        for name in ("first", "second"):
            space = machine.new_space(name, residency=Residency.COLD)
            machine.map_memory(space, VA, 16 * 4096)
            space.grant(VA, 16 * 4096, writable=True)
            drivers.append(raw_driver(machine, space=space))
        entry = drivers[0].entry(VA, 100, VA + 0x8000, 200)
        assert len(drivers[0].run(entry)) == 1
        assert machine.timers.next() is None
        machine.chip.lose["smmu events"] = 1
        entry = drivers[0].entry(VA + 0x1000, 100, VA + 0x9000, 200)
        for driver in drivers:
            assert driver.run(entry) == []
        machine.advance(0.2)
        for driver in drivers:
            ((_, sqe),) = driver.completions()
            assert sqe[3] == 0
        assert machine.rescues == 1
        assert "no interrupt" in caplog.text
        for driver in drivers:
            driver.file.close()

    def test_a_lost_event_interrupt_does_not_keep_a_queue_from_draining(
        self, new_machine: Any, raw_driver: Any
    ) -> None:
        machine = new_machine()
        space = machine.new_space("left", residency=Residency.COLD)
        machine.map_memory(space, VA, 16 * 4096)
        space.grant(VA, 16 * 4096, writable=True)
        driver = raw_driver(machine, space=space)
        machine.chip.lose["smmu events"] = 1
        assert driver.run(driver.entry(VA, 100, VA + 0x8000, 200)) == []
        driver.file.close()
        assert (machine.rescues, machine.nodes[ZIP.name].reset_queues) == (1, 0)

    def test_spurious_interrupts_are_counted(self, machine: Machine) -> None:
        machine.chip.interrupt(f"{ZIP.name} eq")
        machine.chip.interrupt(f"{ZIP.name} aeq")
        machine.run()
        assert machine.nodes[ZIP.name].qm.spurious == 2

    def test_a_line_that_is_raised_for_ever_is_masked(
        self, machine: Machine, memory: Any, raw_driver: Any, caplog: Any
    ) -> None:
        """The abnormal event queue is told to be elsewhere, so its driver finds nothing and the line stays raised."""
        space, _ = memory
        elsewhere = machine.nodes[ZIP.name].dma.allocate(4096)
        machine.chip.memory.ram.write(elsewhere.pa, EqContext(elsewhere.iova, 1024).pack())
        machine.nodes[ZIP.name].qm.mailbox(Mailbox(MailboxCommand.AEQ_CONTEXT, 0, elsewhere.iova))
        machine.chip.blocks[ZIP.name].qm.events.abnormal(AeqType.CQ_OVERFLOW, 5)
        pumps = 0
        while machine.pump() and pumps < 100:
            pumps += 1
        assert pumps < 100
        assert "masked" in caplog.text
        driver = raw_driver(machine, space=space)
        driver.arm()
        assert len(driver.run(driver.entry(VA, 100, VA + 0x8000, 200))) == 1
        assert driver.file.wakes == 1

    def test_who_never_reads_completions_is_stopped(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine(depth=8)
        space = machine.new_space("deaf")
        machine.map_memory(space, VA, 2 * 4096)
        space.grant(VA, 2 * 4096, writable=True)
        driver, other = raw_driver(machine, space=space), raw_driver(machine, space=space)
        for _ in range(3):
            driver.submit(*[driver.entry(VA, 7, VA + 4096, 100)] * 5)
            machine.run()
        assert ("CQ overflow", driver.number) in machine.nodes[ZIP.name].qm.abnormal
        assert driver.status() == (1, 1)
        assert len(other.run(other.entry(VA, 7, VA + 4096, 100))) == 1


class TestEventQueueOverflow:
    """Whom the events that found no room were for, nobody knows: the function is reset."""

    @pytest.fixture
    def overflowed(
        self, new_machine: Any, raw_driver: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> Any:
        """Two drivers, after more lost interrupts than there is room for events."""
        monkeypatch.setattr(hisi_qm, "EQ_DEPTH", 8)
        machine = new_machine()
        space = machine.new_space("asleep")
        machine.map_memory(space, VA, 2 * 4096)
        space.grant(VA, 2 * 4096, writable=True)
        driver, other = raw_driver(machine, space=space), raw_driver(machine, space=space)
        line = f"{ZIP.name} eq"
        machine.chip.lose[line] = 100
        for _ in range(7):
            driver.arm()
            assert len(driver.run(driver.entry(VA, 7, VA + 4096, 100))) == 1
        assert machine.lost(ZIP.name) is None
        driver.arm()
        driver.submit(driver.entry(VA, 7, VA + 4096, 100))
        machine.run()
        machine.chip.lose.clear()
        assert machine.nodes[ZIP.name].qm.abnormal == [("EQ overflow", 0)]
        assert "event queue overflowed" in caplog.text
        return machine, space, driver, other

    def test_ends_all_queues_of_the_function(self, overflowed: Any) -> None:
        machine, space, driver, other = overflowed
        assert "event queue overflowed" in machine.lost(ZIP.name)
        for queue in (driver, other):
            assert select.select([queue.file], [], [], 0)[0]
            for call in (queue.file.start, queue.status, queue.completions, queue.arm):
                with pytest.raises(OSError, match=r"gone|removed") as caught:
                    call()
                assert caught.value.errno == errno.ENXIO
        with pytest.raises(OSError, match="event queue overflowed") as caught:
            machine.open(ZIP.name, space)
        assert caught.value.errno == errno.ENODEV

    def test_is_over_when_they_are_closed(self, overflowed: Any, raw_driver: Any) -> None:
        machine, space, driver, other = overflowed
        driver.file.close()
        assert machine.lost(ZIP.name)
        other.file.close()
        assert machine.lost(ZIP.name) is None
        again = raw_driver(machine, space=space)
        for wakes in range(1, 21):
            again.arm()
            assert len(again.run(again.entry(VA, 7, VA + 4096, 100))) == 1
            assert again.file.wakes == wakes

    def test_of_a_device_that_is_then_removed_brings_nothing_back(self, overflowed: Any) -> None:
        machine, _, driver, other = overflowed
        machine.remove(ZIP.name, "unplugged")
        driver.file.close()
        other.file.close()
        assert machine.lost(ZIP.name) == "unplugged"

    def test_of_a_device_that_was_removed_changes_nothing(self, machine: Machine) -> None:
        machine.remove(ZIP.name, "unplugged")
        machine.chip.blocks[ZIP.name].qm.events.abnormal(AeqType.EQ_OVERFLOW, 0)
        machine.run()
        assert machine.lost(ZIP.name) == "unplugged"

    def test_without_queues_is_over_at_once(self, machine: Machine, memory: Any, raw_driver: Any) -> None:
        space, _ = memory
        machine.chip.blocks[ZIP.name].qm.events.abnormal(AeqType.EQ_OVERFLOW, 0)
        machine.run()
        assert machine.lost(ZIP.name) is None
        driver = raw_driver(machine, space=space)
        assert len(driver.run(driver.entry(VA, 100, VA + 0x8000, 200))) == 1


def test_64_kib_goes_over_many_pages(machine: Machine, memory: Any, raw_driver: Any) -> None:
    space, data = memory
    text = b"".join(i.to_bytes(4, "little") for i in range(16384))
    data.poke(0x123, text)
    driver = raw_driver(machine, space=space)
    (sqe,) = driver.run(driver.entry(VA + 0x123, len(text), VA + 0x20123, 0x1C000))
    assert gzip.decompress(gzip_of(data.peek(0x20123, sqe[1]))) == text
    assert machine.chip.frames.guard_violations == machine.chip.frames.stale_access == 0
