"""Several devices and several queues of one accelerator: which of them takes what, and what happens without a queue."""

import gc
import gzip
import logging
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import Compress, Priority, Reason, numa
from wdasync.scheduling import Route, Schedule
from wdasync.testing.mock import Program, backend

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100

#: Two nodes that are near each other, and one that is not.
THREE = {0: ("0", "10 12 32"), 1: ("1", "12 10 32"), 2: ("2", "32 32 10")}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three nodes; this program runs on the first."""
    for node, (cpus, distances) in THREE.items():
        folder = tmp_path / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus)
        (folder / "distance").write_text(distances)
    monkeypatch.setattr(numa, "SYSFS", tmp_path)
    monkeypatch.setattr(numa.Whereabouts, "now", lambda: numa.Whereabouts(frozenset({0}), 0))


async def held(acc: wdasync.Accelerator, program: Program, count: int, **how: Any) -> list[wdasync.Result]:
    """So many operations at once, one after another submitted; nothing ends before all are under way."""
    results: list[wdasync.Result] = []
    program.hold()

    async def one() -> None:
        results.append(await acc.execute(Compress(PAGE, "gzip"), **how))

    async with anyio.create_task_group() as tasks:
        for number in range(1, count + 1):
            tasks.start_soon(one)
            with anyio.fail_after(10):
                while sum(lane.in_flight + lane.parked for lane in acc.statistics().lanes) < number:
                    await anyio.lowlevel.checkpoint()
        program.release()
    assert all(gzip.decompress(result.output or b"") == PAGE for result in results)
    return results


def where(results: list[wdasync.Result]) -> Counter[str]:
    return Counter(result.device for result in results)


# -- several queues -----------------------------------------------------------------------------------------------


async def test_several_queues_share_the_work() -> None:
    with backend.programmed(depth=4) as program:
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=3) as acc:
            await held(acc, program, 9)
            lanes = acc.statistics().lanes
            assert [lane.name for lane in lanes] == ["mock/mock-0", "mock/mock-0 #1", "mock/mock-0 #2"]
            assert [lane.submitted for lane in lanes] == [3, 3, 3]
            # One at a time: all are idle, and each has its turn; this is the quick way.
            for _ in range(6):
                await acc.compress(PAGE)
            assert [lane.submitted for lane in acc.statistics().lanes] == [5, 5, 5]
            assert acc.statistics().reasons["preferred"] == 15


async def test_many_at_once_are_shared_too() -> None:
    with backend.programmed(depth=4) as program:
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=2) as acc:
            assert [gzip.decompress(out) for out in await acc.compress_many([PAGE] * 30)] == [PAGE] * 30
            submitted = [lane.submitted for lane in acc.statistics().lanes]
            assert sum(submitted) == 30
            assert min(submitted) > 0
            del program


async def test_many_at_once_fill_what_is_near_and_go_on_to_what_is_far(machine: None) -> None:
    """Each choice counts those of the burst before it, though none is on a device yet."""
    with backend.programmed(devices=2, nodes=(0, 2), depth=4):
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            assert len(await acc.compress_many([PAGE] * 7)) == 7
            assert [lane.submitted for lane in acc.statistics().lanes] == [4, 3]
            reasons = acc.statistics().reasons
            assert (reasons["preferred"], reasons["load"]) == (4, 3)
            await acc.compress_many([PAGE] * 16)
            assert [lane.submitted for lane in acc.statistics().lanes] == [12, 11], (
                "all are full: half of them each"
            )


async def test_a_burst_that_never_begins_takes_no_room() -> None:
    async def pager(offset: int, length: int) -> bytes:
        await anyio.sleep_forever()
        return b""

    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        with anyio.move_on_after(0.02) as scope:
            await acc.compress_many([PAGE, PAGE, wdasync.PagedBuffer(4096, pager)])
        assert scope.cancelled_caught
        assert [lane.load for place in acc._places for lane in place.every] == [0]
        await acc.compress_many([PAGE])


async def test_where_there_is_nothing_to_choose_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of one await to the only queue is the short one, from the first operation on."""

    def asked(*_: object) -> None:
        raise AssertionError("asked")

    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        monkeypatch.setattr(Route, "quick", asked)
        monkeypatch.setattr(Schedule, "choose", asked)
        for _ in range(3):
            await acc.compress(PAGE)


async def test_each_class_has_its_own_number() -> None:
    counts = "sync-comp:1@0,async-comp:2@0,async-decomp:2@0"
    with backend.programmed(split=True, nodes=(0,)):
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=counts) as acc:
            names = Counter(lane.name.split("#")[0].strip() for lane in acc.statistics().lanes)
            assert names == {"mock/mock-0 compress": 3, "mock/mock-0 decompress": 2}
            assert await acc.decompress(await acc.compress(PAGE)) == PAGE


async def test_a_list_is_for_devices_at_its_nodes(machine: None) -> None:
    """Three queues for two devices at node 0; none for that at node 2, which nobody uses then."""
    with backend.programmed(devices=3, nodes=(0, 0, 2)):
        async with wdasync.open_accelerator("mock", fallback=False, open_queues="sync:3@0") as acc:
            names = [lane.name for lane in acc.statistics().lanes]
            assert names == ["mock/mock-0", "mock/mock-0 #1", "mock/mock-1"]
            await acc.compress(PAGE)


async def test_a_list_that_is_for_nobody() -> None:
    with backend.programmed(nodes=(0,)):
        with pytest.raises(
            wdasync.BackendUnavailable, match=r"open_queues: .* none for mock/mock-0 at node 0"
        ):
            await wdasync.open_accelerator("mock", fallback=False, open_queues="sync:3@1")
        async with wdasync.open_accelerator("mock", open_queues="sync:3@1", inline=False) as acc:
            result = await acc.execute(Compress(PAGE, "gzip"))
            assert (result.backend, result.reason) == ("cpu", Reason.NO_QUEUE)


async def test_a_list_that_leaves_out_a_direction() -> None:
    with backend.programmed(split=True, nodes=(0,)):
        async with wdasync.open_accelerator("mock", open_queues="sync-comp:1@0", inline=False) as acc:
            packed = await acc.execute(Compress(PAGE, "gzip"))
            back = await acc.execute(wdasync.Decompress(packed.output or b"", "gzip"))
            assert (packed.backend, packed.reason) == ("mock", Reason.PREFERRED)
            assert (back.backend, back.reason) == ("cpu", Reason.NO_QUEUE)
        async with wdasync.open_accelerator("mock", open_queues="sync-comp:1@0", fallback=False) as acc:
            with pytest.raises(
                wdasync.BackendUnavailable, match="decompress gzip: no device that could do it"
            ):
                await acc.decompress(packed.output or b"")


async def test_who_only_takes_over_has_one_queue() -> None:
    def queues(acc: wdasync.Accelerator) -> list[int]:
        return [place.queues for place in acc.statistics().places]

    async with wdasync.open_accelerator("mock", open_queues=3) as acc:
        assert queues(acc) == [3, 1]
    async with wdasync.open_accelerator("mock", open_queues=3, cpu={"open_queues": 2}) as acc:
        assert queues(acc) == [3, 2]
    async with wdasync.open_accelerator(["mock", "cpu"], open_queues=3) as acc:
        assert queues(acc) == [3, 3]


async def test_the_cpu_has_one_queue_whatever_a_list_says() -> None:
    async with wdasync.open_accelerator("cpu", open_queues="sync:3@7") as acc:
        assert len(acc.statistics().lanes) == 1
        await acc.compress(PAGE)


# -- several devices ----------------------------------------------------------------------------------------------


async def test_the_nearest_first(machine: None) -> None:
    with backend.programmed(devices=4, depth=2, nodes=(2, 1, 0, 0)) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            few = await held(acc, program, 4)
            assert where(few) == {"mock-2": 2, "mock-3": 2}
            assert {result.reason for result in few} == {Reason.PREFERRED}
            more = await held(acc, program, 7)
            assert where(more) == {"mock-2": 2, "mock-3": 2, "mock-1": 2, "mock-0": 1}
            assert Counter(result.reason for result in more) == {Reason.PREFERRED: 4, Reason.LOAD: 3}
            # All are full: who comes now waits for the least loaded, and of equals for the nearest.
            most = await held(acc, program, 10)
            assert where(most) == {"mock-2": 3, "mock-3": 3, "mock-1": 2, "mock-0": 2}


async def test_one_at_a_time_stays_near(machine: None) -> None:
    with backend.programmed(devices=3, nodes=(2, 0, 0)):
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            for _ in range(10):
                await acc.compress(PAGE)
            assert [lane.submitted for lane in acc.statistics().lanes] == [0, 5, 5]


async def test_each_queue_of_each_device_has_its_turn() -> None:
    """Those of one device do not go in step with the devices."""
    for operate in ("compress", "execute"):
        with backend.programmed(devices=2):
            async with wdasync.open_accelerator("mock", fallback=False, open_queues=2) as acc:
                used = []
                for _ in range(8):
                    before = [lane.submitted for lane in acc.statistics().lanes]
                    if operate == "compress":
                        await acc.compress(PAGE)
                    else:
                        await acc.execute(Compress(PAGE, "gzip"))
                    after = [lane.submitted for lane in acc.statistics().lanes]
                    used.append([new - old for old, new in zip(before, after, strict=True)].index(1))
        assert used == [0, 2, 1, 3, 0, 2, 1, 3], operate


async def test_the_node_may_be_named(machine: None) -> None:
    with backend.programmed(devices=2, nodes=(0, 2)):
        async with wdasync.open_accelerator("mock", fallback=False, numa_node=2) as acc:
            assert (await acc.execute(Compress(PAGE, "gzip"))).device == "mock-1"


async def test_the_quick_way_and_the_slow_one_agree(machine: None) -> None:
    """With and without somebody who asks where it ran."""
    shares = []
    for operate in ("compress", "execute"):
        with backend.programmed(devices=3, nodes=(0, 0, 2), depth=2) as program:
            async with wdasync.open_accelerator("mock", fallback=False, open_queues=2) as acc:
                program.hold()
                async with anyio.create_task_group() as tasks:
                    for number in range(1, 12):
                        if operate == "compress":
                            tasks.start_soon(acc.compress, PAGE)
                        else:
                            tasks.start_soon(acc.execute, Compress(PAGE, "gzip"))
                        while sum(each.in_flight for each in acc.statistics().lanes) < number:
                            await anyio.lowlevel.checkpoint()
                    program.release()
                shares.append([lane.submitted for lane in acc.statistics().lanes])
                assert acc.statistics().reasons["load"] == 3
    assert shares[0] == shares[1]
    assert shares[0][:4] == [2, 2, 2, 2]
    assert sum(shares[0][4:]) == 3


async def test_a_lost_one_is_left_out(machine: None) -> None:
    with backend.programmed(devices=3, nodes=(0, 0, 2)) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            for _ in range(4):
                await acc.compress(PAGE)
            program.lose_device(device=0)
            for _ in range(6):
                await acc.compress(PAGE)
            assert [lane.submitted for lane in acc.statistics().lanes][1:] == [2 + 6, 0]


async def test_one_that_cannot_be_opened_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_device = type(backend).open
    broken = {"mock-0"}

    def opening(self: Any, info: Any, *options: Any, **how: Any) -> Any:
        if info.name in broken:
            raise wdasync.BackendUnavailable(f"{info.name} is isolated")
        return open_device(self, info, *options, **how)

    monkeypatch.setattr(type(backend), "open", opening)
    with backend.programmed(devices=2) as program, caplog.at_level(logging.WARNING, "wdasync"):
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            assert (await acc.execute(Compress(PAGE, "gzip"))).device == "mock-1"
        assert [record.getMessage() for record in caplog.records] == [
            "mock/mock-0 is left out: mock-0 is isolated"
        ]
        broken.add("mock-1")
        with pytest.raises(wdasync.BackendUnavailable, match="mock-0 is isolated"):
            await wdasync.open_accelerator("mock")
        assert not program.devices


async def test_devices_that_can_do_different_things() -> None:
    """The first of two has no Brotli and a small window; its table is not the other's."""
    with backend.programmed(devices=2) as program:
        program.capabilities_of["mock-0"] = wdasync.Capabilities(
            [
                wdasync.Capability(wdasync.Kind.COMPRESS, "gzip", window=12, max_input=1000, queue_class="a"),
                wdasync.Capability(wdasync.Kind.DECOMPRESS, "gzip", queue_class="b"),
            ]
        )
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            assert {(await acc.execute(Compress(PAGE, "gzip"))).device for _ in range(2)} == {
                "mock-0",
                "mock-1",
            }
            for operation in (
                lambda: Compress(bytes(1001), "gzip"),
                lambda: Compress(PAGE, "gzip", window=13),
                lambda: Compress(PAGE, "zlib"),
            ):
                assert {(await acc.execute(operation())).device for _ in range(2)} == {"mock-1"}
            for _ in range(4):
                await acc.compress(bytes(2000))
            assert await acc.decompress(await acc.compress(PAGE)) == PAGE


# -- queues that are used up ----------------------------------------------------------------------------------------


async def test_fewer_queues_than_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with backend.programmed(queues=2), caplog.at_level(logging.WARNING, "wdasync"):
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=5) as acc:
            assert len(acc.statistics().lanes) == 2
            await acc.compress(PAGE)
    (record,) = caplog.records
    assert "mock/mock-0: 2 of 5 queues" in record.getMessage()


async def test_used_up_at_the_beginning() -> None:
    """Somebody else has all queues of the first device: the second, or another backend, does the work."""
    with backend.programmed(queues=1, devices=2) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as other:
            del program.devices[1:]
            first = program.devices[0]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(backend, "open", _opening(first))
                async with wdasync.open_accelerator("mock", inline=False) as acc:
                    result = await acc.execute(Compress(PAGE, "gzip"))
                    assert (result.backend, result.reason) == ("cpu", Reason.NO_QUEUE)
                    assert acc.statistics().reasons["no_queue"] == 1
                with pytest.raises(wdasync.BackendUnavailable, match="all of its 1 queues are in use"):
                    await wdasync.open_accelerator("mock", fallback=False)
            await other.compress(PAGE)


def _opening(device: Any) -> Callable[..., Any]:
    """Hands out a device that is open already, as several processes share one."""

    class Shared:
        """Closing it is for its first owner."""

        def __getattr__(self, name: str) -> Any:
            return getattr(device, name)

        def close(self) -> None:
            pass

    return lambda *_, **__: Shared()


async def test_another_error_is_one() -> None:
    """Used up is something that passes; being refused is not."""
    with backend.programmed() as program:
        program.fail_open_queue(1)
        with pytest.raises(wdasync.BackendUnavailable, match="the test said so"):
            await wdasync.open_accelerator("mock")


async def test_a_priority_without_a_queue_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """It shares that of the others, and that is said once."""
    with backend.programmed(queues=1), caplog.at_level(logging.WARNING, "wdasync"):
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            for _ in range(3):
                result = await acc.execute(Compress(PAGE, "gzip"), priority=Priority.HIGH)
                assert (result.backend, result.queue) == ("mock", "mock/mock-0")
            assert len(acc.statistics().lanes) == 1
    (record,) = caplog.records
    assert "mock/mock-0: no queue of its own for high" in record.getMessage()


async def test_what_a_fault_handler_waits_for_shares_with_nobody() -> None:
    """It goes elsewhere instead: behind what waits for the handler it would wait for ever."""
    results: list[wdasync.Result] = []

    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        results.append(await acc.execute(Compress(PAGE, "gzip")))
        return wdasync.FaultResponse.SUCCESS

    with backend.programmed(queues=1) as program:
        program.change(page_faults=wdasync.backend.PageFaults.HANDLER)
        async with wdasync.open_accelerator("mock", on_fault=handler, inline=False) as acc:
            program.page_fault()
            await acc.compress(PAGE)
    assert [(result.backend, result.reason) for result in results] == [("cpu", Reason.NO_QUEUE)]


async def test_nowhere_else_to_go() -> None:
    errors: list[wdasync.BackendUnavailable] = []

    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        for call in (acc.compress(PAGE), acc.compress_many([PAGE, PAGE])):
            try:
                await call
            except wdasync.BackendUnavailable as error:
                errors.append(error)
        return wdasync.FaultResponse.SUCCESS

    with backend.programmed(queues=1) as program:
        program.change(page_faults=wdasync.backend.PageFaults.HANDLER)
        async with wdasync.open_accelerator("mock", fallback=False, on_fault=handler) as acc:
            program.page_fault()
            await acc.compress(PAGE)
            assert acc.statistics().in_flight == 0
    assert len(errors) == 2
    assert "all of its 1 queues are in use" in str(errors[0])


async def test_an_error_of_no_queue_keeps_no_operation() -> None:
    """Not even until the next collection of garbage: it may hold much memory."""
    alive: list[bool] = []

    class Watched(Compress):
        __slots__ = ("__weakref__",)

    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        operation = Watched(PAGE, "gzip")
        reference = weakref.ref(operation)
        try:
            await acc.execute(operation)
        except wdasync.BackendUnavailable:
            del operation
        alive.append(reference() is not None)
        return wdasync.FaultResponse.SUCCESS

    with backend.programmed(queues=1) as program:
        program.change(page_faults=wdasync.backend.PageFaults.HANDLER)
        async with wdasync.open_accelerator("mock", fallback=False, on_fault=handler) as acc:
            program.page_fault()
            gc.collect()
            gc.disable()
            try:
                await acc.compress(PAGE)
            finally:
                gc.enable()
    assert alive == [False]


async def test_what_was_closed_says_so() -> None:
    with backend.programmed(devices=2) as program:
        async with wdasync.open_accelerator("mock", fallback=False, reopen_delay=100) as acc:
            program.lose_device("unplugged", device=1)
            for _ in range(2):
                await acc.compress(PAGE)
            assert [(place.state, place.queues) for place in acc.statistics().places] == [
                ("open", 1),
                ("lost", 0),
            ]
    assert [(place.state, place.queues) for place in acc.statistics().places] == [
        ("closed", 0),
        ("closed", 0),
    ]
    assert [place.reason for place in acc.statistics().places] == ["", "unplugged"]
