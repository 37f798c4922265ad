"""Page faults of the chip: who answers, when, and what a queue sees of it."""

import gzip
import mmap
import threading
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from wdasync.faults import Access, FaultResponse, PageFault
from wdasync_hip08._native import ffi
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.memory import PAGE

VA = 0x1234_5000
OUT = VA + 16 * PAGE


def gunzip(body: bytes) -> bytes:
    return gzip.decompress(bytes.fromhex("1f8b0800000000000003") + body)


def prepare(machine: Any, driver: Any, *, residency: Residency = Residency.MIRROR, pages: int = 32) -> Any:
    space = machine.new_space("program", residency=residency)
    memory = machine.map_memory(space, VA, pages * PAGE)
    memory.poke(0, b"".join(bytes([page + 65]) * PAGE for page in range(8)))
    return space, memory, driver(machine, space=space)


def grant(space: Any, source: int = 8 * PAGE, room: int = 8 * PAGE) -> None:
    space.grant(VA, source, writable=False)
    space.grant(OUT, room, writable=True)


class TestKernelAnswers:
    @pytest.mark.parametrize(
        ("residency", "faults"), [(Residency.COLD, 9), (Residency.MIRROR, 3), (Residency.PINNED, 0)]
    )
    def test_residency(self, machine: Any, raw_driver: Any, residency: Residency, faults: int) -> None:
        space, memory, driver = prepare(machine, raw_driver, residency=residency)
        memory.absent = {2, 3, 16, 17}
        grant(space)
        (sqe,) = driver.run(driver.entry(VA, 8 * PAGE, OUT, 8 * PAGE))
        assert sqe[3] == 0
        assert gunzip(memory.peek(16 * PAGE, sqe[1])) == memory.peek(0, 8 * PAGE)
        assert machine.faults.counters.taken == faults
        assert machine.faults.counters.answers == ({FaultResponse.SUCCESS: faults} if faults else {})
        assert sum(machine.faults.counters.latency.values()) == faults
        assert driver.file.faults(0) == faults
        assert driver.file.faults(0) == 0

    @pytest.mark.parametrize(
        ("source", "destination"),
        [
            (VA - PAGE, OUT), (0, OUT), (VA + 8 * PAGE, OUT), ((1 << 47) + 5, OUT), ((1 << 64) - 64, OUT),
            (1 << 63, OUT), (VA, VA), (VA, OUT + 8 * PAGE), (VA, 0), (VA, (1 << 64) - 1), (VA, 1 << 56),
        ],
    )  # fmt: skip
    def test_wild_addresses_end_in_a_status(
        self, machine: Any, raw_driver: Any, source: int, destination: int
    ) -> None:
        space, memory, driver = prepare(machine, raw_driver)
        grant(space)
        before = memory.peek(0, 32 * PAGE)
        good = driver.entry(VA, 100, OUT, 200)
        sqes = driver.run(driver.entry(source, 64, destination, 200), good)
        assert [sqe[3] for sqe in sqes] == [3, 0]
        assert memory.peek(0, 16 * PAGE) == before[: 16 * PAGE]
        assert machine.chip.frames.guard_violations == 0
        assert machine.lost("hisi_zip-0") is None

    def test_the_neighbour_on_a_granted_page_is_guarded(self, machine: Any, raw_driver: Any) -> None:
        space, memory, driver = prepare(machine, raw_driver)
        space.grant(VA + 100, 50, writable=False)
        space.grant(OUT + 100, 50, writable=True)
        statuses = [
            sqe[3]
            for sqe in driver.run(
                driver.entry(VA + 100, 50, OUT + 100, 50),
                driver.entry(VA + 99, 50, OUT + 100, 50),
                driver.entry(VA + 100, 51, OUT + 100, 50),
                driver.entry(VA + 100, 50, OUT + 140, 50),
            )
        ]
        assert statuses == [0, 3, 3, 3]
        assert machine.chip.frames.guard_violations == 3
        assert memory.peek(16 * PAGE + 140, 20) == bytes(20)

    def test_after_the_revoke_a_page_faults(self, machine: Any, raw_driver: Any) -> None:
        space, _, driver = prepare(machine, raw_driver)
        grant(space)
        entry = driver.entry(VA, 100, OUT, 200)
        assert driver.run(entry)[0][3] == 0
        space.revoke(VA, 8 * PAGE, writable=False)
        assert driver.run(entry)[0][3] == 3
        assert machine.faults.counters.answers[FaultResponse.INVALID] == 1
        assert machine.chip.frames.stale_access == 0
        with pytest.raises(ValueError, match="expected a grant"):
            space.revoke(VA, 8 * PAGE, writable=False)

    def test_grants_count(self, machine: Any, raw_driver: Any) -> None:
        space, _, driver = prepare(machine, raw_driver)
        grant(space)
        grant(space)
        space.revoke(VA, 8 * PAGE, writable=False)
        assert driver.run(driver.entry(VA, 100, OUT, 200))[0][3] == 0

    def test_a_page_that_is_granted_for_writing_later(self, machine: Any, raw_driver: Any) -> None:
        space, _, driver = prepare(machine, raw_driver)
        space.grant(VA, 2 * PAGE, writable=False)
        entry = driver.entry(VA, 64, VA + PAGE, 200)
        assert driver.run(entry)[0][3] == 3
        space.grant(VA + PAGE, PAGE, writable=True)
        assert driver.run(entry)[0][3] == 0

    def test_unmapped_memory(self, machine: Any, raw_driver: Any) -> None:
        space, _, driver = prepare(machine, raw_driver)
        grant(space)
        entry = driver.entry(VA, 8 * PAGE, OUT, 8 * PAGE)
        assert driver.run(entry)[0][3] == 0
        space.remove((VA >> 12) + 3, (VA >> 12) + 4)
        assert driver.run(entry)[0][3] == 3
        assert machine.chip.frames.stale_access == 0

    def test_a_read_only_area_is_not_written(self, machine: Any, raw_driver: Any) -> None:
        space, _, driver = prepare(machine, raw_driver)
        grant(space)
        constant = machine.map_memory(space, 0x6000_0000, 2 * PAGE, writable=False)
        space.grant(0x6000_0000, 2 * PAGE, writable=True)
        assert driver.run(driver.entry(VA, 64, 0x6000_0000, 200))[0][3] == 3
        assert constant.peek(0, PAGE) == bytes(PAGE)

    def test_an_exited_program_gets_nothing(self, machine: Any, raw_driver: Any) -> None:
        space, _, driver = prepare(machine, raw_driver)
        grant(space)
        driver.submit(driver.entry(VA, 64, OUT, 200))
        space.exit()
        machine.run()
        assert driver.completions()[0][1][3] == 3
        with pytest.raises(OSError, match="alive"):
            machine.bindings.bind(space, ZIP.stream)


class TestThisProcess:
    """The same with the memory of the process that runs the test."""

    @pytest.fixture
    def line(self, machine: Any, raw_driver: Any) -> Any:
        driver = raw_driver(machine)
        return machine, driver, driver.file.space

    def test_pointers_of_python_objects(self, line: Any) -> None:
        machine, driver, space = line
        text, out = b"a python object " * 1000, bytearray(20000)
        source, destination = space.grant(text, False), space.grant(out, True)
        (sqe,) = driver.run(driver.entry(source, len(text), destination, len(out)))
        assert gunzip(out[: sqe[1]]) == text
        space.revoke(source, len(text), False)
        space.revoke(destination, len(out), True)
        machine.pump()
        assert machine.process.granted() == 0
        assert machine.chip.frames.live == 0

    def test_untouched_memory_is_a_true_fault(self, line: Any) -> None:
        machine, driver, space = line
        area = mmap.mmap(-1, 8 * PAGE)
        address = space.grant(area, True)
        (sqe,) = driver.run(driver.entry(address, 2 * PAGE, address + 4 * PAGE, PAGE))
        assert sqe[3] == 0
        assert machine.faults.counters.taken == 3

    def test_freed_memory_ends_in_a_status(self, line: Any) -> None:
        machine, driver, space = line
        area = mmap.mmap(-1, 4 * PAGE)
        area[:8] = b"content!"
        address = space.grant(area, True)
        machine.process.grant(address + (1 << 30), PAGE, writable=False)
        out = bytearray(100)
        destination = space.grant(out, True)
        area.close()
        statuses = [
            sqe[3]
            for sqe in driver.run(
                driver.entry(address, 8, destination, 100),  # Present when it was granted, gone now.
                driver.entry(address + 2 * PAGE, 8, destination, 100),  # Never present.
                driver.entry(address + (1 << 30), 8, destination, 100),  # Nothing there at all.
            )
        ]
        assert statuses == [3, 3, 3]
        assert machine.chip.blocks[ZIP.name].port.aborts >= 3

    def test_constant_memory_is_not_written(self, line: Any, tmp_path: Any) -> None:
        _, driver, space = line
        path = tmp_path / "constant"
        path.write_bytes(b"constant" * 512)
        with path.open("rb") as file:
            area = mmap.mmap(file.fileno(), PAGE, access=mmap.ACCESS_READ)
            address = space.grant(area, True)
            source = space.grant(b"x" * 100, False)
            (sqe,) = driver.run(driver.entry(source, 100, address, 100))
            assert sqe[3] == 3
            assert area[:8] == b"constant"

    def test_a_truncated_file(self, line: Any, tmp_path: Any) -> None:
        _, driver, space = line
        path = tmp_path / "short"
        path.write_bytes(bytes(2 * PAGE))
        with path.open("r+b") as file:
            area = mmap.mmap(file.fileno(), 2 * PAGE)
            area[PAGE] = 1
            address, out = space.grant(area, False), bytearray(100)
            destination = space.grant(out, True)
            file.truncate(PAGE)
            statuses = [
                sqe[3]
                for sqe in driver.run(
                    driver.entry(address + PAGE, 10, destination, 100),
                    driver.entry(address, 10, destination, 100),
                )
            ]
            assert statuses == [3, 0x0D]  # Ten bytes of nothing do not become fewer with a trailer.

    def test_one_pasid_for_all_queues_of_the_process(self, machine: Any, raw_driver: Any) -> None:
        first, second = raw_driver(machine), raw_driver(machine, queue_type=1)
        assert machine.process.users.total() == 2
        assert len(machine.bindings.pasids.used) == 1
        first.file.close()
        assert machine.bindings.pasids.used
        second.file.close()
        assert not machine.bindings.pasids.used

    def test_granting_what_is_no_memory_of_programs(self, line: Any) -> None:
        machine, _, _ = line
        with pytest.raises(OSError, match="below"):
            machine.process.grant((1 << 47) - 10, 20, writable=False)


def test_an_absent_page_comes_in_another_thread(new_machine: Any, raw_driver: Any) -> None:
    """It may have to be read from a disk, and the caller may be an event loop."""
    machine = new_machine(clock="real")
    driver = raw_driver(machine)
    area = mmap.mmap(-1, 8 * PAGE)
    address = driver.file.space.grant(area, True)
    threads = []
    populate = machine.own.populate

    def watched(page: int, count: int, writable: bool) -> bool:
        threads.append(threading.current_thread().name)
        return populate(page, count, writable)

    machine.own.populate = watched
    driver.submit(driver.entry(address, 100, address + 4 * PAGE, PAGE))
    found: list[Any] = []
    end = time.monotonic() + 10
    while not found and time.monotonic() < end:
        machine.pump()
        found = driver.completions()
    assert found[0][1][3] == 0
    assert machine.faults.counters.answers == {FaultResponse.SUCCESS: 2}
    assert threads
    assert {name.rpartition("-")[0] for name in threads} == {"hip08-engine"}


@pytest.mark.anyio
class TestHandlers:
    """Faults as events of the program."""

    async def go(self, machine: Any, driver: Any, *entries: bytes) -> list[list[int]]:
        driver.submit(*entries)
        found: list[list[int]] = []
        with anyio.fail_after(10):
            while len(found) < len(entries):
                machine.pump()
                found += [sqe for _, sqe in driver.completions()]
                await anyio.sleep(0.001)
        return found

    async def test_a_handler_sees_each_fault(self, new_machine: Any, raw_driver: Any) -> None:
        seen: list[PageFault] = []
        reported: list[PageFault] = []

        async def handler(fault: PageFault) -> FaultResponse:
            seen.append(fault)
            await anyio.lowlevel.checkpoint()
            return FaultResponse.SUCCESS

        machine = new_machine(handler, reported.append, clock="real")
        space, memory, driver = prepare(machine, raw_driver, residency=Residency.COLD)
        grant(space)
        async with anyio.create_task_group() as group:
            group.start_soon(machine.serve)
            (sqe,) = await self.go(machine, driver, driver.entry(VA, 3 * PAGE, OUT + 5, 200))
            await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert gunzip(memory.peek(16 * PAGE + 5, sqe[1])) == memory.peek(0, 3 * PAGE)
        assert [fault.address for fault in seen] == [VA, VA + PAGE, VA + 2 * PAGE, OUT + 5]
        assert [fault.access for fault in seen] == [Access.READ] * 3 + [Access.WRITE]
        assert {fault.pasid for fault in seen} == {space.pasid}
        assert [fault.response for fault in reported] == [FaultResponse.SUCCESS] * 4
        assert all(fault.latency is not None and fault.latency > 0 for fault in reported)
        assert driver.file.faults(0) == 4

    @pytest.mark.parametrize("answer", [FaultResponse.INVALID, FaultResponse.FAILURE, RuntimeError("no"), 77])
    async def test_a_refusal_ends_the_operation_and_no_other(
        self, new_machine: Any, raw_driver: Any, answer: Any
    ) -> None:
        async def handler(fault: PageFault) -> FaultResponse:
            if fault.address >> 12 != (VA >> 12) + 1:
                return FaultResponse.SUCCESS
            if isinstance(answer, Exception):
                raise answer
            return answer

        machine = new_machine(handler, clock="real")
        space, _, driver = prepare(machine, raw_driver, residency=Residency.COLD)
        grant(space)
        async with anyio.create_task_group() as group:
            group.start_soon(machine.serve)
            sqes = await self.go(
                machine, driver, driver.entry(VA, 4 * PAGE, OUT, 200), driver.entry(VA, 64, OUT + PAGE, 200)
            )
            group.cancel_scope.cancel()
        assert [sqe[3] for sqe in sqes] == [3, 0]
        assert not machine.faults.pending
        assert (VA >> 12) + 2 not in {
            vpn for vpn, page in space.pages.items() if page.frame is not None
        }  # What comes behind the refused page is never touched.

    async def test_a_deadline_is_a_refusal(self, new_machine: Any, raw_driver: Any) -> None:
        cancelled = []

        async def handler(fault: PageFault) -> FaultResponse:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(fault.address)

        machine = new_machine(handler, clock="real", fault_deadline=0.05)
        space, _, driver = prepare(machine, raw_driver, residency=Residency.COLD)
        grant(space)
        async with anyio.create_task_group() as group:
            group.start_soon(machine.serve)
            (sqe,) = await self.go(machine, driver, driver.entry(VA, 64, OUT, 200))
            await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert sqe[3] == 3
        assert cancelled == [VA]
        assert machine.faults.counters.expired == 1

    async def test_close_while_a_handler_thinks(self, new_machine: Any, raw_driver: Any) -> None:
        async def handler(fault: PageFault) -> FaultResponse:
            await anyio.sleep_forever()
            raise AssertionError

        machine = new_machine(handler, clock="real", fault_deadline=0.4)
        space, _, driver = prepare(machine, raw_driver, residency=Residency.COLD)
        grant(space)
        async with anyio.create_task_group() as group:
            group.start_soon(machine.serve)
            driver.submit(driver.entry(VA, 64, OUT, 200))
            machine.pump()
            await anyio.sleep(0.02)
            assert machine.faults.pending
            with anyio.fail_after(5):
                await anyio.to_thread.run_sync(driver.file.close)
            group.cancel_scope.cancel()
        assert machine.faults.counters.expired == 1
        assert not machine.faults.pending
        assert not machine.bindings.pasids.used
        assert machine.nodes[ZIP.name].reset_queues == 0

    async def test_serve_that_ends_refuses_what_waits(self, new_machine: Any, raw_driver: Any) -> None:
        async def handler(fault: PageFault) -> FaultResponse:
            await anyio.sleep_forever()
            raise AssertionError

        machine = new_machine(handler, clock="real")
        space, _, driver = prepare(machine, raw_driver, residency=Residency.COLD)
        grant(space)
        async with anyio.create_task_group() as group:
            group.start_soon(machine.serve)
            driver.submit(driver.entry(VA, 64, OUT, 200))
            machine.pump()
            await anyio.sleep(0.02)
            group.cancel_scope.cancel()
        machine.run()
        assert [sqe[3] for _, sqe in driver.completions()] == [3]

    async def test_a_slow_space_does_not_starve_the_others(self, new_machine: Any, raw_driver: Any) -> None:
        slow_pasid: set[int | None] = set()

        async def handler(fault: PageFault) -> FaultResponse:
            if fault.pasid in slow_pasid:
                await anyio.sleep_forever()
            return FaultResponse.SUCCESS

        machine = new_machine(handler, clock="real", stall_quota=8, window=16, fault_deadline=0)
        slow, _, slow_driver = prepare(machine, raw_driver, residency=Residency.COLD)
        quick, _, quick_driver = prepare(machine, raw_driver, residency=Residency.COLD)
        slow_pasid.add(slow.pasid)
        grant(slow)
        grant(quick)
        async with anyio.create_task_group() as group:
            group.start_soon(machine.serve)
            slow_driver.submit(*[slow_driver.entry(VA + n * 256, 64, OUT, 200) for n in range(30)])
            sqes = await self.go(
                machine, quick_driver, *[quick_driver.entry(VA + n * 64, 64, OUT, 200) for n in range(30)]
            )
            assert [sqe[3] for sqe in sqes] == [0] * 30
            assert len([f for f in machine.faults.pending.values() if f.pasid == slow.pasid]) <= 8
            assert not slow_driver.completions()
            group.cancel_scope.cancel()


def test_grants_of_this_process_have_the_address_of_the_buffer(machine: Any, raw_driver: Any) -> None:
    buffer = bytearray(100)
    space = raw_driver(machine).file.space
    assert space.grant(buffer, True) == int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))
    assert space.direct
    assert space.allocate(10) is None
