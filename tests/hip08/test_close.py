"""Closing a queue whose entry waits for a page: each step comes after the one that makes it safe."""

import gzip
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

import wdasync
import wdasync_hip08.machine
from wdasync import PagedBuffer
from wdasync.faults import FaultResponse, PageFault
from wdasync_hip08 import backend
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.nodes import DRAIN_SECONDS
from wdasync_hip08.memory import PAGE
from wdasync_hip08.trace import Recorder


def in_words(trace: Recorder) -> list[str]:
    """What happens while a queue is closed, in words; ends of spans with their result."""
    told = []
    for event in trace.events:
        words = [event.name]
        if event.phase != "i":
            words.append(event.phase)
        words += [
            str(event.details[key]) for key in ("response", "verdict", "drained") if key in event.details
        ]
        told.append(" ".join(words))
    return told


def test_a_drain_waits_for_the_last_of_its_faults(
    new_machine: Any, raw_driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other address spaces, of other queues of its own, and other timers, are not its business."""

    async def never(fault: PageFault) -> FaultResponse:
        await anyio.sleep_forever()
        raise AssertionError

    machine = new_machine(never, fault_deadline=5.0, residency="cold")
    drivers = []
    for name in ("ours", "another"):
        space = machine.new_space(name)
        machine.map_memory(space, 0x10000, 8 * PAGE)
        space.grant(0x10000, 8 * PAGE, writable=True)
        drivers.append(raw_driver(machine, space=space))
        drivers[-1].space = space
    ours, another = drivers
    neighbour = raw_driver(machine, space=ours.space)
    for driver, page in ((ours, 0), (ours, 0), (another, 0), (neighbour, 2)):
        driver.submit(driver.entry(0x10000 + page * PAGE, 100, 0x14000, 200))
        machine.advance(1.0)
    machine.timers.after(0.5, lambda: None)
    waits: list[float] = []

    def give_up(queue: Any, seconds: float) -> bool:
        waits.append(seconds)
        return False

    monkeypatch.setattr(machine.nodes[ZIP.name], "_drained_within", give_up)
    machine.nodes[ZIP.name].drain(ours.file.queue)
    assert waits == pytest.approx([DRAIN_SECONDS, 2.0 + DRAIN_SECONDS])
    assert machine.nodes[ZIP.name].reset_queues == 1


@pytest.mark.anyio
async def test_a_pager_of_five_seconds_is_pending(new_machine: Any, raw_driver: Any, tmp_path: Any) -> None:
    """Deadline, INVALID, abort, drained, stopped, descriptor cleared, caches told, SYNC, and only then the PASID."""
    asked, given_up = anyio.Event(), anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        asked.set()
        try:
            await anyio.sleep_forever()  # Five seconds of the model pass before five of ours.
        finally:
            given_up.set()
        raise AssertionError

    machine = new_machine(trace=str(tmp_path / "trace.txt"), fault_deadline=5.0)
    driver = raw_driver(machine)
    source, destination = PagedBuffer(PAGE, pager), bytearray(2 * PAGE)
    address = driver.file.space.grant(source, False)
    output = driver.file.space.grant(destination, True)
    pasid = machine.process.pasid
    async with anyio.create_task_group() as group:
        group.start_soon(machine.serve)
        driver.submit(driver.entry(address, PAGE, output, len(destination)))
        machine.pump()
        with anyio.fail_after(10):
            await asked.wait()
            assert machine.clock.now() == 0
            await anyio.to_thread.run_sync(driver.file.close)
            await given_up.wait()
        group.cancel_scope.cancel()
    assert machine.clock.now() == 5.0
    assert machine.faults.counters.expired == 1
    assert machine.nodes[ZIP.name].reset_queues == 0
    assert pasid not in machine.bindings.pasids.used

    trace = machine.trace
    told = in_words(trace)
    order = [
        "page fault b", "drain b", "page fault e INVALID", "RESUME", "resume abort", "request e", "CQE",
        "drain e True", "queue stopped", "CD cleared", "CFGI_CD", "SYNC", "TLBI_NH_ASID", "SYNC", "PASID free",
    ]  # fmt: skip
    assert told[-6:] == order[-6:]
    at = told.index("drain b") - 1
    for step in order[1:]:
        at = told.index(step, at + 1)
    for once in (
        "drain b",
        "page fault e INVALID",
        "resume abort",
        "CQE",
        "queue stopped",
        "CD cleared",
        "PASID free",
    ):
        assert told.count(once) == 1, once
    refused = trace.events[told.index("page fault e INVALID")]
    assert refused.when == 5.0
    assert [trace.events[n].details.get("pasid") for n in (told.index("CD cleared"), -1)] == [pasid, pasid]


@pytest.mark.anyio
async def test_no_pager_is_called_once_closing_has_begun() -> None:
    """And those that are at work are cancelled, so nobody waits for them."""
    asked: list[int] = []
    errors: list[BaseException] = []
    begun = anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        asked.append(offset)
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def use(acc: wdasync.Accelerator) -> None:
        try:
            await acc.compress(wdasync.PagedBuffer(10 * 4096, pager))
        except wdasync.ClosedResourceError as error:
            errors.append(error)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            async with wdasync.open_accelerator(
                "hip08", fallback=False, fault_deadline=60, close_timeout=30
            ) as acc:
                for _ in range(20):
                    group.start_soon(use, acc)
                await begun.wait()
                before = len(asked)
    assert len(asked) == before
    assert len(errors) == 20


class TestAHandlerThatThinksForEver:
    """The time that a handler has is no time that somebody else has to wait."""

    pytestmark = pytest.mark.anyio

    def open_chip(self, handler: Any, **settings: Any) -> Any:
        return wdasync.open_accelerator(
            "hip08", fallback=False, chip="private", residency="cold", fault_deadline=600, on_fault=handler,
            **settings,
        )  # fmt: skip

    @pytest.fixture
    def thinker(self) -> Any:
        return Thinker()

    @pytest.mark.parametrize("how", ["in time", "at once", "cancelled"])
    async def test_closing_stops_what_it_holds_up(self, thinker: Any, how: str) -> None:
        errors: list[BaseException] = []

        async def use(acc: wdasync.Accelerator) -> None:
            try:
                await acc.compress(b"x" * 9000)
            except wdasync.ClosedResourceError as error:
                errors.append(error)

        close_timeout = {"in time": 0.05, "at once": 0, "cancelled": 600}[how]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                acc = await self.open_chip(thinker.handler, close_timeout=close_timeout).__aenter__()
                for _ in range(8):
                    group.start_soon(use, acc)
                await thinker.begun.wait()
                if how == "cancelled":
                    with anyio.CancelScope() as scope:
                        scope.cancel()
                        await acc.aclose()
                else:
                    await acc.aclose()
        assert len(errors) == 8
        assert thinker.cancelled == thinker.asked

    async def test_an_operation_that_it_holds_up_is_stuck(self, thinker: Any) -> None:
        with anyio.fail_after(60):
            async with self.open_chip(thinker.handler, deadline=0.2) as acc:
                with pytest.raises(wdasync.DeviceError):
                    await acc.compress(b"x" * 9000)
                assert thinker.cancelled == thinker.asked == 1
                thinker.quick = True
                assert gzip.decompress(await acc.compress(b"x" * 9000)) == b"x" * 9000

    async def test_it_is_not_asked_for_a_device_that_is_gone(self, thinker: Any) -> None:
        errors: list[BaseException] = []

        async def use(acc: wdasync.Accelerator) -> None:
            try:
                await acc.compress(b"x" * 9000)
            except wdasync.DeviceError as error:
                errors.append(error)

        with anyio.fail_after(60):
            async with self.open_chip(thinker.handler, seed=8) as acc:
                async with anyio.create_task_group() as group:
                    group.start_soon(use, acc)
                    await thinker.begun.wait()
                    (machine,) = (one for one in wdasync_hip08.machines() if one.options.seed == 8)
                    machine.remove(ZIP.name)
                    assert not machine.faults.pending
                while thinker.cancelled < thinker.asked:
                    await anyio.sleep(0.001)
        assert len(errors) == thinker.asked == 1


class Thinker:
    """A handler, and how often it was asked and cancelled."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.asked = self.cancelled = 0
        self.quick = False

    async def handler(self, fault: PageFault) -> FaultResponse:
        if not self.quick:
            self.asked += 1
            self.begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.cancelled += 1
        return FaultResponse.SUCCESS


class TestSlowThreads:
    """What a thread of ours is at is no chip that hangs, and the machine may be busy: no time is too long for it."""

    @pytest.fixture
    def driver(self, new_machine: Any, raw_driver: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """Of a queue with an entry in work. Threads go on when somebody has waited for them three times."""
        monkeypatch.setattr(wdasync_hip08.kernel.nodes, "DRAIN_SECONDS", 0.0)
        machine = new_machine(clock="real")
        looks = threading.Semaphore(0)
        wait = machine.changed.wait

        def look(timeout: float) -> bool:
            looks.release()
            return bool(wait(timeout))

        monkeypatch.setattr(machine.changed, "wait", look)
        call = machine._workers.call

        def slow(job: Any) -> None:
            def later() -> None:
                for _ in range(3):
                    looks.acquire()
                job()

            call(later)

        monkeypatch.setattr(machine._workers, "call", slow)
        space = machine.new_space("slow")
        memory = machine.map_memory(space, 0x10000, 8 * PAGE)
        space.grant(0x10000, 8 * PAGE, writable=True)
        driver = raw_driver(machine, space=space)
        driver.memory, driver.space = memory, space
        yield driver
        looks.release(100)  # Whatever still waits goes on now.

    def closes_in_order(self, driver: Any) -> None:
        machine = driver.machine
        driver.submit(driver.entry(0x10000, 2 * PAGE, 0x14000, 2 * PAGE))
        machine.run()
        assert not driver.completions()
        machine.nodes[ZIP.name].drain(driver.file.queue)
        assert machine.nodes[ZIP.name].reset_queues == 0
        ((_, words),) = driver.completions()
        assert words[3] == 0
        driver.file.close()

    def test_work_of_an_engine(self, driver: Any) -> None:
        self.closes_in_order(driver)

    def test_a_page_that_is_brought_in(self, driver: Any) -> None:
        driver.memory.absent.update(range(8))
        driver.space._take([vpn for vpn in driver.space.pages if driver.space.pages[vpn].frame])
        self.closes_in_order(driver)
        assert driver.machine.faults.counters.taken

    def test_an_engine_that_hangs_is_given_up(self, driver: Any) -> None:
        driver.machine.chip.blocks[ZIP.name].engine.stuck = True
        driver.submit(driver.entry(0x10000, 2 * PAGE, 0x14000, 2 * PAGE))
        driver.machine.run()
        driver.file.close()
        assert driver.machine.nodes[ZIP.name].reset_queues == 1


def test_what_is_stuck_was_begun_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of a pump's time there is: on a busy machine a step may be all."""
    monkeypatch.setattr(wdasync_hip08.machine, "SECONDS", -1.0)
    device = backend.open(backend.devices()[0], backend.Options())
    queue = device.open_queue(64)
    with backend.provoker.stick(device):
        assert queue.enqueue_burst([(0, wdasync.Nop())]) == 1
    device.machine.run()
    assert not queue.dequeue_burst(1)
    queue.close()
    device.close()
