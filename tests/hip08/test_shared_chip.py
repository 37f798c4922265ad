"""One chip a process: accelerators with the same settings share a machine, a process space, a PASID, a TLB."""

import contextvars
import errno
import gzip
import os
import random
import select
import threading
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

import wdasync
import wdasync_hip08
from wdasync import FaultResponse, PagedBuffer, PageFault
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.hisi_qm import HisiQm
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.machine import Machine
from wdasync_hip08.machines import Machines
from wdasync_hip08.options import Options
from wdasync_hip08.qm.contexts import AeqType, SqContext
from wdasync_hip08.qm.registers import MailboxCommand
from wdasync_uacce.memory import address_of

PAGE = 4096
TEXT = b"".join(f"line {number} of a text that shrinks.\n".encode() for number in range(2000))

#: Seconds within which everything here is long over; who hangs fails instead.
PATIENCE = 60


def open_chip(**settings: Any) -> Any:
    return wdasync.open_accelerator("hip08", **{"fallback": False, "seed": 7} | settings)


def machines() -> list[Machine]:
    """Those of this file."""
    return [machine for machine in wdasync_hip08.machines() if machine.options.seed == 7]


def the_machine() -> Machine:
    (machine,) = machines()
    return machine


def contexts(machine: Machine) -> set[int]:
    """PASIDs in the contexts of all queues, as the chip has them."""
    node = machine.nodes[ZIP.name]
    with machine.lock:
        return {
            SqContext.unpack(node.qm.read_context(MailboxCommand.SQ_CONTEXT, number)).pasid
            for number in node.qm.queues
        }


@pytest.mark.anyio
class TestOneMachine:
    async def test_from_the_first_open_to_the_last_close(self) -> None:
        assert not machines()
        first = await open_chip()
        machine = the_machine()
        second = await open_chip()
        assert the_machine() is machine
        assert {attachment.machine for attachment in machine.attachments} == {machine}
        assert contexts(machine) == {machine.process.pasid}
        assert machine.process.users[ZIP.stream] == len(machine.nodes[ZIP.name].files) == 4
        await first.aclose()
        assert the_machine() is machine
        assert machine.process.users[ZIP.stream] == 2
        assert gzip.decompress(await second.compress(TEXT, "gzip")) == TEXT
        await second.aclose()
        assert not machines()
        assert not machine.alive
        async with open_chip():
            assert the_machine() is not machine

    async def test_other_settings_and_other_names_are_other_chips(self) -> None:
        async with open_chip(), open_chip(residency="cold"), open_chip(chip="mine"), open_chip(chip="mine"):
            assert len(machines()) == 3
            async with open_chip(chip="private"), open_chip(chip="private"):
                assert len(machines()) == 5
            assert len(machines()) == 3
        assert not machines()

    @pytest.mark.parametrize(
        "settings",
        [
            {"memory": "private"}, {"memory": "function"}, {"memory": "reserved"}, {"residency": "pinned"},
            {"clock": "virtual"}, {"consuming": True}, {"restartable": True},
        ],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("last", [0, 1])
    async def test_in_every_mode(self, settings: dict[str, Any], last: int) -> None:
        pair = [await open_chip(**settings) for _ in range(2)]
        machine = the_machine()
        assert contexts(machine) == {machine.process.pasid}
        async with anyio.create_task_group() as group:

            async def one(acc: Any) -> None:
                packed = await acc.compress(TEXT, "gzip")
                assert await acc.decompress(packed, "gzip") == TEXT

            for acc in pair * 8:
                group.start_soon(one, acc)
        await pair[1 - last].aclose()
        assert gzip.decompress(await pair[last].compress(TEXT, "gzip")) == TEXT
        await pair[last].aclose()
        assert machine.nodes[ZIP.name].reset_queues == 0
        assert not machines()

    async def test_no_name_is_a_mistake(self) -> None:
        with pytest.raises(wdasync.ConfigError, match="chip: expected a name"):
            await open_chip(chip="")

    async def test_opening_that_fails_leaves_nothing_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def busy(*args: Any) -> Any:
            raise OSError(errno.EBUSY, "none")

        async with open_chip() as acc:
            machine = the_machine()
            before = list(machine.attachments)
            with monkeypatch.context() as patch:
                patch.setattr(HisiQm, "allocate", busy)
                with pytest.raises(wdasync.BackendUnavailable):
                    await open_chip()
            assert machine.attachments == before
            assert machine.alive
            assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
        with monkeypatch.context() as patch:
            patch.setattr(HisiQm, "allocate", busy)
            with pytest.raises(wdasync.BackendUnavailable):
                await open_chip()
        assert not machines()

    async def test_opening_that_is_cancelled_leaves_nothing_on(self) -> None:
        for steps in range(8):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def cancel(scope: Any = scope, steps: int = steps) -> None:
                        for _ in range(steps):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    group.start_soon(cancel)
                    acc = await open_chip()
                    await acc.aclose()
        with anyio.fail_after(PATIENCE):
            while machines():
                await anyio.sleep(0.001)

    async def test_translations_are_shared_and_so_is_their_end(self) -> None:
        """Grants of our own keep the pages in the table between the operations."""
        data, out = bytearray(os.urandom(4 * PAGE)), bytearray(8 * PAGE)
        async with open_chip(tlb_entries=1024) as first, open_chip(tlb_entries=1024) as second:
            machine = the_machine()
            space, smmu = machine.process, machine.chip.smmu

            async def walks(acc: Any) -> int:
                with machine.lock:
                    machine.chip.frames.settle()  # Else what the last operation has left may be found.
                before = smmu.statistics.walks
                count = await acc.compress_into(data, out, "gzip")
                assert gzip.decompress(out[:count]) == data
                return smmu.statistics.walks - before

            def known() -> list[int]:
                areas = [(address_of(buffer), len(buffer)) for buffer in (data, out)]
                return [
                    entry.address
                    for entry in smmu.tlb
                    for address, length in areas
                    if address < entry.address + entry.size and entry.address < address + length
                ]

            await walks(second)  # Its rings are in the TLB now.
            with machine.lock:
                machine.chip.frames.settle()
                space.grant(address_of(data), len(data), writable=False)
                space.grant(address_of(out), len(out), writable=True)
            assert await walks(first) >= 4
            assert len(known()) >= 8
            assert await walks(second) == 0
            with machine.lock:
                space.revoke(address_of(data), len(data), writable=False)
                space.revoke(address_of(out), len(out), writable=True)
                machine.chip.frames.settle()
            assert not known()
            assert await walks(second) >= 8
            assert await walks(first) >= 8
            assert machine.chip.frames.stale_access == 0


@pytest.mark.anyio
class TestFaults:
    async def test_are_of_whose_queue_they_came_from(self) -> None:
        asked: dict[str, list[PageFault]] = {"first": [], "second": []}

        def handler(name: str) -> Any:
            async def answer(fault: PageFault) -> FaultResponse:
                asked[name].append(fault)
                await anyio.lowlevel.checkpoint()
                return FaultResponse.SUCCESS

            return answer

        async with (
            open_chip(residency="cold", on_fault=handler("first")) as first,
            open_chip(residency="cold", on_fault=handler("second")) as second,
            open_chip(residency="cold") as third,
        ):
            the_machine()
            async with first.faults() as seen:
                results = {}

                async def one(name: str, acc: Any) -> None:
                    results[name] = await acc.execute(wdasync.Compress(os.urandom(9 * PAGE), "gzip"))

                async with anyio.create_task_group() as group:
                    for name, acc in (("first", first), ("second", second), ("third", third)):
                        group.start_soon(one, name, acc)
                observed = [await anext(seen) for _ in asked["first"]]
            for name, faults in asked.items():
                assert len(faults) == results[name].faults > 9
            assert results["third"].faults > 9
            assert {fault.address for fault in observed} == {fault.address for fault in asked["first"]}
            for name, acc in (("first", first), ("second", second), ("third", third)):
                counters = acc.statistics().devices["hip08/hisi_zip-0"]
                assert counters["page_faults_taken"] == results[name].faults
                assert counters["page_faults_handled"] == len(asked.get(name, ()))

    async def test_of_one_are_no_business_of_another_that_closes(self) -> None:
        """Its close neither waits for the handler of the other, nor ends what that thinks about."""
        thinking, go = anyio.Event(), anyio.Event()

        async def slow(fault: PageFault) -> FaultResponse:
            thinking.set()
            await go.wait()
            return FaultResponse.SUCCESS

        async with open_chip(residency="cold", fault_deadline=0, on_fault=slow) as slow_one:
            packed: list[bytes] = []

            async def compress() -> None:
                packed.append(await slow_one.compress(TEXT, "gzip"))

            async with anyio.create_task_group() as group:
                async with open_chip(residency="cold", fault_deadline=0) as quick:
                    group.start_soon(compress)
                    await thinking.wait()
                    assert gzip.decompress(await quick.compress(TEXT, "gzip")) == TEXT
                assert the_machine().faults.pending
                assert the_machine().nodes[ZIP.name].reset_queues == 0
                go.set()
            assert gzip.decompress(packed[0]) == TEXT

    async def test_a_pager_is_asked_in_the_context_of_its_accelerator(self) -> None:
        name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
        asked: dict[str, int] = {}

        async def pager(offset: int, length: int) -> bytes:
            asked[name.get()] = asked.get(name.get(), 0) + 1
            return TEXT[offset : offset + length]

        name.set("first")
        first = await open_chip()
        name.set("second")
        second = await open_chip()
        name.set("neither")
        for acc in (first, second):
            result = await acc.execute(wdasync.Compress(PagedBuffer(len(TEXT), pager), "gzip"))
            assert gzip.decompress(result.output) == TEXT
        pages = -(-len(TEXT) // PAGE)
        assert asked == {"first": pages, "second": pages}
        await first.aclose()
        await second.aclose()


async def comes_back(acc: wdasync.Accelerator) -> None:
    """The device is there again for this one."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
            except wdasync.WdasyncError:
                await anyio.sleep(0.01)
            else:
                return


@pytest.mark.anyio
class TestLoss:
    async def test_of_the_device_is_of_all_and_it_returns_for_all(self) -> None:
        settings = {"reopen_delay": 0.01, "reopen_limit": 0.05}
        async with open_chip(**settings) as first, open_chip(**settings) as second:
            machine = the_machine()
            machine.remove(ZIP.name, "unplugged")
            for acc in (first, second):
                with pytest.raises(wdasync.WdasyncError):
                    await acc.compress(TEXT, "gzip")
            for acc in (first, second):
                await comes_back(acc)
            assert the_machine() is machine
            assert contexts(machine) == {machine.process.pasid}

    async def test_of_events_is_of_all_and_it_returns_for_all(self) -> None:
        """The event queue overflowed, so the kernel resets the function, and nobody has to do anything."""
        settings = {"reopen_delay": 0.01, "reopen_limit": 0.05}
        async with open_chip(**settings) as first, open_chip(**settings) as second:
            machine = the_machine()
            for acc in (first, second):
                await acc.compress(TEXT, "gzip")
            with machine.lock:
                machine.chip.blocks[ZIP.name].qm.events.abnormal(AeqType.EQ_OVERFLOW, 0)
                machine.run()
                assert "event queue overflowed" in str(machine.lost(ZIP.name))
            for acc in (first, second):
                with pytest.raises(wdasync.WdasyncError):
                    await acc.compress(TEXT, "gzip")
            for acc in (first, second):
                await comes_back(acc)
            places = [place for acc in (first, second) for place in acc.statistics().places]
            assert sum(place.losses for place in places) == 2
            assert the_machine() is machine

    async def test_who_has_nothing_to_do_keeps_it_from_nobody(self) -> None:
        settings = {"reopen_delay": 0.01, "reopen_limit": 0.05}
        async with open_chip(**settings) as idle, open_chip(**settings) as busy:
            for acc in (idle, busy):
                await acc.compress(TEXT, "gzip")
            the_machine().remove(ZIP.name, "unplugged")
            await comes_back(busy)
            await comes_back(idle)

    async def test_who_comes_too_late_is_told(self) -> None:
        async with open_chip(reopen_delay=1000):
            machine = the_machine()
            held = machine.attach()
            file = held.open(ZIP.name)
            machine.remove(ZIP.name, "unplugged")
            with pytest.raises(wdasync.BackendUnavailable, match=r"unplugged.*chip=private"):
                wdasync_hip08.backend.open(wdasync_hip08.backend.devices()[0], machine.options)
            held.close()
            assert file.queue is None


class TestAttachments:
    def test_of_one_that_leaves_its_queues_open(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine()
        other = raw_driver(machine)
        attachment = machine.attach()
        file = attachment.open(ZIP.name)
        assert attachment.files == [file]
        assert attachment.close() is True
        assert attachment.close() is False
        assert (file.queue, attachment.files) == (None, [])
        assert list(machine.nodes[ZIP.name].files.values()) == [other.file]
        assert "not served, 0 queues" in repr(attachment)

    def test_faults_of_a_queue_that_is_reset_are_over(self, new_machine: Any, raw_driver: Any) -> None:
        """Another queue keeps the PASID, so nobody else would end them."""

        async def never(fault: PageFault) -> FaultResponse:
            await anyio.sleep_forever()
            raise AssertionError

        machine = new_machine(never, fault_deadline=0)
        space = machine.new_space("shared", residency=Residency.COLD)
        machine.map_memory(space, 0x10000, 8 * PAGE)
        space.grant(0x10000, 8 * PAGE, writable=True)
        stays, goes = raw_driver(machine, space=space), raw_driver(machine, space=space)
        for driver, page in ((stays, 0), (goes, 1)):
            driver.submit(driver.entry(0x10000 + page * PAGE, 64, 0x14000, 200))
        machine.run()
        assert len(machine.faults.pending) == 2
        goes.file.close()
        assert machine.nodes[ZIP.name].reset_queues == 1
        assert [fault.owner for fault in machine.faults.pending.values()] == [machine.program]
        assert [fault.entry[1] for fault in machine.faults.pending.values()] == [stays.number]

    def test_what_a_pump_leaves_is_done_by_whose_it_is(self, new_machine: Any, raw_driver: Any) -> None:
        """Somebody pumps a little of what another has submitted, in another thread, and does no more."""
        machine = new_machine(clock="real")
        space = machine.new_space("theirs")
        machine.map_memory(space, 0x10000, 8 * PAGE)
        space.grant(0x10000, 8 * PAGE, writable=True)
        driver = raw_driver(machine, space=space)
        machine.attach().wake_elsewhere()  # Who is not served is not waited for either.
        scopes: list[anyio.CancelScope] = []
        tokens: list[Any] = []

        async def serve() -> None:
            tokens.append(anyio.lowlevel.current_token())
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await machine.serve()

        thread = threading.Thread(target=anyio.run, args=(serve,))
        thread.start()
        patience = threading.Event()
        try:
            for _ in range(PATIENCE * 100):
                if machine.program._asleep:
                    break
                patience.wait(0.01)
            driver.submit(*[driver.entry(0x10000, 64, 0x14000, 200)] * 5)
            assert machine.pump(1)
            for _ in range(PATIENCE * 100):
                if machine.nodes[ZIP.name].block.qm.completed == 5:
                    break
                patience.wait(0.01)
            assert machine.nodes[ZIP.name].block.qm.completed == 5
        finally:
            anyio.from_thread.run_sync(scopes[0].cancel, token=tokens[0])
            thread.join()

    def test_no_descriptors_for_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine that nobody could be attached to is off again; one that has users stays on."""
        every, options = Machines(), Options(ram=16, clock="virtual")
        first = every.attach(options)

        def none(*args: Any) -> Any:
            raise OSError(errno.EMFILE, "too many")

        with monkeypatch.context() as patch:
            patch.setattr(select, "epoll", none)
            with pytest.raises(OSError, match="too many"):
                every.attach(options)
            with pytest.raises(OSError, match="too many"):
                every.attach(Options(ram=16, clock="virtual", seed=3))
        assert every.on() == [first.machine]
        assert "Machine on" in repr(every)
        every.detach(first)
        every.detach(first)
        assert every.on() == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_child_begins_afresh(self) -> None:
        every = wdasync_hip08.machines
        device = wdasync_hip08.backend.open(wdasync_hip08.backend.devices()[0], Options(seed=7, ram=16))
        parents, queue = the_machine(), device.open_queue(64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the point of this test
            child = os.fork()
        if child == 0:
            status = 1
            try:
                fresh = not every()
                mine = wdasync_hip08.backend.open(wdasync_hip08.backend.devices()[0], Options(seed=7, ram=16))
                status = not (fresh and mine.machine is not parents and every() == [mine.machine])
                mine.close()
                device.close()
            finally:
                os._exit(int(status))
        assert os.waitpid(child, 0)[1] == 0
        assert the_machine() is parents
        assert queue.enqueue_burst([(5, wdasync.Compress(TEXT[:500], "gzip"))]) == 1
        found: list[Any] = []
        while not found:
            found += queue.dequeue_burst(1)
        assert gzip.decompress(found[0].output) == TEXT[:500]
        queue.close()
        device.close()
        assert not machines()


class Threads:
    """Two event loops in two threads; the same kind, or not."""

    def __init__(self, *mains: Callable[[], Any], backends: tuple[Any, ...]) -> None:
        self.errors: list[BaseException] = []
        self.threads = [
            threading.Thread(target=self._run, args=(main, backend))
            for main, backend in zip(mains, backends, strict=True)
        ]

    def _run(self, main: Callable[[], Any], backend: tuple[str, dict[str, Any]]) -> None:
        try:
            anyio.run(main, backend=backend[0], backend_options=backend[1])
        except BaseException as error:  # noqa: BLE001  # raised where the test is
            self.errors.append(error)

    def go(self) -> None:
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads)
        if self.errors:
            raise self.errors[0]


ASYNCIO, UVLOOP, TRIO = ("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})
PAIRS = [(ASYNCIO, ASYNCIO), (UVLOOP, TRIO), (TRIO, ASYNCIO)]
each_pair = pytest.mark.parametrize("backends", PAIRS, ids=["asyncio", "uvloop+trio", "trio+asyncio"])


@each_pair
class TestTwoLoops:
    def test_share_a_machine_and_are_asked_in_their_own_threads(self, backends: Any) -> None:
        barrier = threading.Barrier(2)
        seen: list[tuple[Machine, int | None]] = []

        async def main() -> None:
            here, threads = threading.get_ident(), set()

            async def handler(fault: PageFault) -> FaultResponse:
                threads.add(threading.get_ident())
                return FaultResponse.SUCCESS

            async with open_chip(residency="cold", on_fault=handler) as acc:
                await anyio.to_thread.run_sync(barrier.wait, PATIENCE)
                machine = the_machine()
                seen.append((machine, machine.process.pasid))
                async with acc.faults() as faults:
                    for _ in range(10):
                        result = await acc.execute(wdasync.Compress(TEXT, "gzip"))
                        assert gzip.decompress(result.output) == TEXT
                        for _ in range(result.faults):
                            await anext(faults)
                            threads.add(threading.get_ident())
                await anyio.to_thread.run_sync(barrier.wait, PATIENCE)
            assert threads == {here}

        Threads(main, main, backends=backends).go()
        assert len(set(seen)) == 1
        assert not machines()

    def test_one_that_is_blocked_keeps_back_nobody(self, backends: Any) -> None:
        """Its loop does nothing at all until the other's work is done: deflating, inflating, a page fault."""
        blocked, done = threading.Event(), threading.Event()

        async def sleeper() -> None:
            async with open_chip(residency="cold") as acc:
                assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
                blocked.set()
                assert done.wait(PATIENCE)  # On the loop, on purpose.
                assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT

        async def worker() -> None:
            async with open_chip(residency="cold") as acc:
                try:
                    await anyio.to_thread.run_sync(blocked.wait, PATIENCE)
                    for _ in range(20):
                        packed = await acc.compress_many([TEXT] * 16, "gzip")
                        assert await acc.decompress(packed[0], "gzip") == TEXT

                    async def pager(offset: int, length: int) -> bytes:
                        return TEXT[offset : offset + length]

                    packed = [await acc.compress(PagedBuffer(len(TEXT), pager), "gzip")]
                    assert gzip.decompress(packed[0]) == TEXT
                finally:
                    done.set()

        Threads(sleeper, worker, backends=backends).go()

    def test_a_storm(self, backends: Any) -> None:
        """Cancellations, faults, refusals, and accelerators that come and go in any order."""
        seeds = iter((1, 2))

        async def main() -> None:
            await storm(random.Random(next(seeds)), 40)

        Threads(main, main, backends=backends).go()
        assert not machines()


async def storm(choose: random.Random, rounds: int) -> None:
    """Rounds of two accelerators each, closed in either order, one of them perhaps with work under way."""

    async def handler(fault: PageFault) -> FaultResponse:
        if choose.random() < 0.2:
            await anyio.lowlevel.checkpoint()
        return FaultResponse.INVALID if choose.random() < 0.02 else FaultResponse.SUCCESS

    async def one(acc: Any) -> None:
        data = choose.randbytes(choose.choice((1, 100, 3 * PAGE, 9 * PAGE)))
        with anyio.move_on_after(choose.choice((PATIENCE, PATIENCE, 0, 0.001))):
            try:
                packed = await acc.compress(data, "gzip")
                assert gzip.decompress(packed) == data
                assert await acc.decompress(packed, "gzip") == data
            except (wdasync.PageFaultError, anyio.ClosedResourceError, wdasync.OperationAborted):
                pass

    for _ in range(rounds):
        pair = [await open_chip(residency="cold", on_fault=handler) for _ in range(2)]
        choose.shuffle(pair)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                for acc in pair:
                    group.start_soon(one, acc)
            if choose.random() < 0.5:
                await anyio.lowlevel.checkpoint()
                await pair[0].aclose()
        for acc in pair:
            assert acc.statistics().rescues == 0
            await acc.aclose()


@pytest.mark.anyio
async def test_a_storm_in_one_loop() -> None:
    await storm(random.Random(5), 125)  # 5,000 pairs of operations.
    assert not machines()
