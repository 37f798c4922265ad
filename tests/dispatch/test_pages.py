"""Closing while operations wait for pages of the program: they end, and others may finish."""

import gzip

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import PagedBuffer
from wdasync.backend import PageFaults, Status
from wdasync.dispatch import Flight, LaneState
from wdasync.operations import Compress
from wdasync.testing.mock import Program

from .test_lane import Bench, status

pytestmark = pytest.mark.anyio


async def pager(offset: int, length: int) -> bytes:
    raise AssertionError("nobody asks")


def submit(bench: Bench, data: object) -> Flight:
    flight = Flight(Compress(data, "gzip"), bench.lane)
    flight.waiter = "somebody"
    bench.lane.submit(flight)
    return flight


async def test_what_may_want_pages_is_given_up() -> None:
    bench = Bench()
    paged, plain = submit(bench, PagedBuffer(10, pager)), submit(bench, b"x")
    bench.loop.turn()
    bench.lane.drain()
    assert status(paged) is Status.ABORTED
    assert plain.completion is None
    assert bench.lane.state is LaneState.DRAINING
    bench.queue.complete()
    bench.lane.readable()
    assert status(plain) is Status.SUCCESS
    assert bench.reaper.drained.is_set()


async def test_what_the_device_will_not_give_back_is_waited_for() -> None:
    bench = Bench()
    paged = submit(bench, PagedBuffer(10, pager))
    bench.loop.turn()
    tag, _ = bench.queue.taken.pop()  # begun
    bench.lane.drain()
    assert paged.completion is None
    bench.queue.taken.append((tag, paged.operation))
    bench.queue.complete(Status.PAGE_FAULT)
    bench.lane.readable()
    assert status(paged) is Status.PAGE_FAULT


async def test_a_queue_that_raises_then_is_lost() -> None:
    bench = Bench()
    flights = [submit(bench, PagedBuffer(10, pager)) for _ in range(3)]
    bench.loop.turn()
    bench.queue.raising.add("withdraw")
    bench.lane.drain()
    assert bench.lane.state is LaneState.LOST
    bench.loop.pass_time(0.1)
    bench.loop.work()
    assert {status(flight) for flight in flights} == {Status.DEVICE_ERROR}
    assert bench.queue.calls.count("withdraw") == 1


async def test_what_wants_pages_and_has_not_begun_ends_at_once(program: Program) -> None:
    """What has begun may finish; nobody is asked for further pages by a program that is about to end."""
    program.change(page_faults=PageFaults.HANDLER, engines=1)
    asked, answer = anyio.Event(), anyio.Event()
    good: list[bytes] = []
    refused = anyio.Event()

    async def slow(offset: int, length: int) -> bytes:
        asked.set()
        await answer.wait()
        return bytes(length)

    acc = await wdasync.open_accelerator("mock", fallback=False, close_timeout=60)

    async def begins() -> None:
        good.append(await acc.compress(PagedBuffer(4096, slow)))

    async def waits() -> None:
        with pytest.raises(wdasync.ClosedResourceError):
            await acc.compress(PagedBuffer(4096, pager))
        refused.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(begins)
            await asked.wait()
            group.start_soon(waits)
            while sum(queue.statistics().enqueued for queue in program.devices[0].queues) < 2:
                await anyio.lowlevel.checkpoint()
            group.start_soon(acc.aclose)
            await refused.wait()
            assert acc.statistics().in_flight == 1
            assert not good
            answer.set()
    assert [gzip.decompress(result) for result in good] == [bytes(4096)]
