"""A cancelled operation: withdrawn, left to the device, or waited for; never a slot or a buffer lost."""

import gzip
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import Accelerator
from wdasync.testing.mock import MockQueue, Program

from .conftest import Opener

pytestmark = pytest.mark.anyio

PAGE = b"the same page again and again, " * 64


async def cancelled_after_start(operation: Awaitable[Any]) -> None:
    """Await ``operation`` until the device has it, then cancel it."""
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await operation
                pytest.fail("the operation was to be cancelled")

        group.start_soon(run)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
    assert scope.cancelled_caught


async def test_what_the_device_has_not_begun_is_withdrawn(opener: Opener, program: Program) -> None:
    program.change(engines=1)
    program.hold()
    async with opener() as acc, anyio.create_task_group() as group:
        group.start_soon(acc.compress, PAGE)  # the engine works on this one
        await anyio.lowlevel.checkpoint()
        await cancelled_after_start(acc.compress(PAGE))
        (lane,) = acc.statistics().lanes
        assert (lane.withdrawn, lane.detached, lane.outstayed) == (1, 0, 0)
        assert lane.in_flight == 1
        program.release()


async def test_what_the_device_works_on_is_left_to_it(opener: Opener, program: Program) -> None:
    program.hold()
    async with opener() as acc:
        await cancelled_after_start(acc.compress(PAGE))
        (lane,) = acc.statistics().lanes
        assert (lane.withdrawn, lane.detached, lane.outstayed) == (0, 1, 0)
        assert lane.in_flight == 1, "the slot is the device's until its completion"
        program.release()
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        assert acc.statistics().in_flight == 0


@pytest.mark.parametrize(
    "start",
    [
        lambda acc, buffer: acc.compress_into(PAGE, buffer, "zlib"),
        lambda acc, buffer: acc.compress(buffer, "zlib"),
        lambda acc, buffer: acc.compress([PAGE, buffer], "zlib"),
    ],
    ids=["output", "input", "one of several inputs"],
)
async def test_memory_of_the_caller_is_waited_for(
    opener: Opener, program: Program, start: Callable[[Accelerator, bytearray], Awaitable[Any]]
) -> None:
    """The device writes late, just before its completion. The await must not end before that."""
    program.hold()
    buffer = bytearray(4096)
    events: list[str] = []
    async with opener() as acc, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await start(acc, buffer)
            events.append("ended")

        group.start_soon(run)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert events == [], "the device may still touch the buffer"
        with pytest.raises(BufferError):
            buffer.extend(b"resized while in flight")
        program.release()
        while not events:
            await anyio.sleep(0.001)
        after = bytes(buffer)
        await acc.compress(PAGE)
        assert bytes(buffer) == after, "the device wrote after the await had ended"
        buffer.extend(b"free again")
        (lane,) = acc.statistics().lanes
        assert lane.outstayed == 1


async def test_a_second_cancellation_does_not_hurry_the_device(opener: Opener, program: Program) -> None:
    program.hold()
    buffer = bytearray(4096)
    ended: list[bool] = []
    async with opener() as acc, anyio.create_task_group() as group:
        outer, inner = anyio.CancelScope(), anyio.CancelScope()

        async def run() -> None:
            with outer, inner:
                await acc.compress_into(PAGE, buffer)
            ended.append(True)

        group.start_soon(run)
        for scope in (inner, outer, outer):
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert not ended
        program.release()
    assert ended


async def test_who_waits_for_a_slot_goes_at_once(opener: Opener, program: Program) -> None:
    program.hold()
    async with opener() as acc, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(acc.compress, PAGE)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        buffer = bytearray(4096)
        await cancelled_after_start(acc.compress_into(PAGE, buffer))
        buffer.extend(b"nobody holds it")
        (lane,) = acc.statistics().lanes
        assert (lane.withdrawn, lane.in_flight) == (1, 4)
        program.release()


async def test_those_behind_a_cancelled_waiter_get_their_turn(opener: Opener, program: Program) -> None:
    program.hold()
    done: list[int] = []
    async with opener() as acc, anyio.create_task_group() as group:

        async def run(number: int, scope: anyio.CancelScope) -> None:
            with scope:
                await acc.compress(PAGE)
                done.append(number)

        scopes = [anyio.CancelScope() for _ in range(8)]
        for number, scope in enumerate(scopes):
            group.start_soon(run, number, scope)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        waiting = [number for number in range(8) if number not in done][4:]
        for number in waiting[:3]:
            scopes[number].cancel()
        await anyio.lowlevel.checkpoint()
        program.release()
    assert len(done) == 5


async def test_a_cancelled_burst_is_all_accounted_for(opener: Opener, program: Program) -> None:
    program.hold()
    async with opener() as acc:
        await cancelled_after_start(acc.compress_many([PAGE] * 10))
        (lane,) = acc.statistics().lanes
        assert (lane.withdrawn, lane.detached) == (6, 4)
        program.release()
        results = await acc.compress_many([PAGE] * 10)
        assert [gzip.decompress(result) for result in results] == [PAGE] * 10


async def test_a_timeout_is_an_error_of_its_own(opener: Opener, program: Program) -> None:
    program.hold()
    async with opener() as acc:
        with pytest.raises(wdasync.OperationTimeout, match=r"within 0\.01 s") as caught:
            await acc.compress(PAGE, timeout=0.01)
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(wdasync.OperationTimeout):
            await acc.compress_many([PAGE, PAGE], timeout=0.01)
        program.release()
        assert zlib.decompress(await acc.compress(PAGE, "zlib", timeout=30)) == PAGE


async def test_a_completion_that_comes_with_the_cancellation(opener: Opener, program: Program) -> None:
    """Both in one loop turn: the caller is cancelled, the slot is free, nothing is counted twice."""
    program.hold()
    async with opener() as acc:
        for _ in range(20):
            async with anyio.create_task_group() as group:
                group.start_soon(acc.compress, PAGE)
                await anyio.lowlevel.checkpoint()
                program.release()
                program.hold()
                group.cancel_scope.cancel()
        program.release()
        await acc.compress(PAGE)
        (lane,) = acc.statistics().lanes
        assert (lane.in_flight, lane.parked, lane.spurious) == (0, 0, 0)


async def _stream_of_calls(acc: Accelerator) -> None:
    async with acc.compressor() as stream:
        await stream.compress(PAGE)
        await stream.flush()
        await stream.finish()


async def _source(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), 500):
        await anyio.lowlevel.checkpoint()
        yield data[start : start + 500]


async def _pieces(acc: Accelerator) -> None:
    async with aclosing(_source(PAGE)) as source, aclosing(acc.compress_stream(source)) as pieces:
        async for _ in pieces:
            pass


async def _decompress_pieces(acc: Accelerator) -> None:
    async with (
        aclosing(_source(gzip.compress(PAGE))) as source,
        aclosing(acc.decompress_stream(source)) as pieces,
    ):
        async for _ in pieces:
            pass


COROUTINES: dict[str, Callable[[Accelerator], Awaitable[Any]]] = {
    "compress": lambda acc: acc.compress(PAGE),
    "decompress": lambda acc: acc.decompress(gzip.compress(PAGE)),
    "compress_into": lambda acc: acc.compress_into(PAGE, bytearray(4096)),
    "decompress_into": lambda acc: acc.decompress_into(gzip.compress(PAGE), bytearray(len(PAGE))),
    "compress_many": lambda acc: acc.compress_many([PAGE] * 9),
    "nop": lambda acc: acc.nop(),
    "with a time-out": lambda acc: acc.compress(PAGE, timeout=60),
    "execute": lambda acc: acc.execute(wdasync.Compress(PAGE, "gzip")),
    "another priority": lambda acc: acc.compress(PAGE, priority=wdasync.Priority.HIGH),
    "compressing stream": _stream_of_calls,
    "stream of pieces": _pieces,
    "decompressing stream": _decompress_pieces,
}


@pytest.mark.parametrize("name", COROUTINES)
async def test_every_coroutine_cancelled_at_every_await(opener: Opener, program: Program, name: str) -> None:
    """Cancel after 0, 1, 2, … loop turns until the coroutine gets through; the accelerator stays usable."""
    program.change(steps=2)
    async with opener() as acc:
        ended = False
        for turns in range(200):
            ended = False
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    nonlocal ended
                    await COROUTINES[name](acc)
                    ended = True

                group.start_soon(run)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            if ended:
                break
        assert ended, "200 loop turns were not enough to get through once"
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        statistics = acc.statistics()
        while acc.statistics().in_flight:
            await anyio.sleep(0.001)
        assert statistics.rescues == 0


async def test_a_cancelled_burst_starts_nothing_new(opener: Opener, program: Program) -> None:
    """Those that wait for a slot are given up before the slots become free."""
    async with opener() as acc:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MockQueue, "_start", lambda self: None)  # it takes up nothing: all can be withdrawn
            await cancelled_after_start(acc.compress_many([PAGE] * 10))
        (lane,) = acc.statistics().lanes
        assert (lane.submitted, lane.withdrawn, lane.in_flight) == (4, 10, 0)


async def test_who_gave_up_waiting_is_not_kept(opener: Opener, program: Program) -> None:
    """Callers whose time runs out while the queue stands still must not pile up, nor count as load."""
    program.hold()
    async with opener() as acc, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(acc.compress, PAGE)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        for _ in range(3):
            await cancelled_after_start(acc.compress_many([PAGE] * 5))
        (lane,) = acc.statistics().lanes
        assert (lane.in_flight, lane.parked, lane.withdrawn) == (4, 0, 15)
        program.release()


async def test_waiting_in_spite_of_a_cancellation_lets_the_loop_sleep(
    opener: Opener, program: Program, anyio_backend_name: str
) -> None:
    """anyio delivers a cancellation on asyncio again and again; it must not turn the loop while a device works."""
    import asyncio

    program.hold()
    async with opener() as acc, anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        tasks: list[asyncio.Task[object]] = []

        async def run() -> None:
            if anyio_backend_name == "asyncio" and (task := asyncio.current_task()):
                tasks.append(task)
            with scope:
                await acc.compress_into(PAGE, bytearray(4096))

        group.start_soon(run)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert all(task.cancelling() < 5 for task in tasks)
        program.release()
    assert scope.cancelled_caught
    assert all(task.cancelling() == 0 for task in tasks)


async def test_a_lane_whose_opener_is_cancelled_is_opened_once(opener: Opener, program: Program) -> None:
    async with opener() as acc:
        for turns in range(40):
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: acc.nop(priority=wdasync.Priority.LOW))
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                await anyio.sleep(0.002 * (turns % 3))
                group.cancel_scope.cancel()
        await acc.nop(priority=wdasync.Priority.LOW)
        assert [lane.name for lane in acc.statistics().lanes] == ["mock/mock-0", "mock/mock-0 low"]


async def test_an_opening_that_is_cancelled_leaves_nothing(program: Program) -> None:
    """Whenever it is cancelled: what was opened in a thread meanwhile is closed before the cancellation goes on."""
    for turns in range(30):
        async with anyio.create_task_group() as group:

            async def run() -> None:
                async with wdasync.open_accelerator("mock", fallback=False):
                    pass

            group.start_soon(run)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            if turns % 2:
                await anyio.sleep(0.0002 * turns)
            group.cancel_scope.cancel()
        assert not program.devices
